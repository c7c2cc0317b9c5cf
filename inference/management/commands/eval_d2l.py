"""`manage.py eval_d2l`: how well a document of your own can be asked, base, in context, and as an adapter."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from inference.model_files import ModelUnavailable, resolve_model

WAYS = ("base", "in-context", "hypernet", "distill")


class Command(BaseCommand):
    help = "Ask a document's questions of the base model, in context, and of its adapters, and print all side by side."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("document", type=Path, help="A text file.")
        parser.add_argument(
            "questions", type=Path, help='A JSON list of {"text": QUESTION, "value": WHAT A RIGHT ANSWER HOLDS}.'
        )
        parser.add_argument("--only", choices=WAYS, nargs="+", default=WAYS, help="By default all of them.")

    def handle(self, *args: Any, document: Path, questions: Path, only: Sequence[str], **options: Any) -> None:
        from inference.d2l.errors import D2LError
        from inference.engine.errors import EngineError, InvalidRequest

        console = Console(highlight=False)
        try:
            model = resolve_model(settings.LAB_MODEL, settings.HOME.root, console)
            found = evaluate(model.path, read(document, questions), only, console)
        except (ModelUnavailable, EngineError, D2LError, InvalidRequest, OSError) as error:
            raise CommandError(str(error)) from None
        console.print(side_by_side(found))


def read(document: Path, questions: Path) -> Any:
    """Raises CommandError where the questions are not as they should be, OSError where a file cannot be read."""
    from inference.d2l.data import Document, Question

    try:
        listed = json.loads(questions.read_text())
        asked = tuple(Question(str(each["text"]), str(each["value"])) for each in listed)
        return Document(document.read_text(), asked)
    except (ValueError, KeyError, TypeError) as error:
        raise CommandError(f'{questions} must be a JSON list of {{"text": ..., "value": ...}}: {error!r}') from None


def evaluate(model: Path, document: Any, only: Sequence[str], console: Console) -> dict[str, Any]:
    """The answers of each way, in the order of the questions."""
    from inference.engine.config import EngineConfig
    from inference.engine.engine import Engine

    with TemporaryDirectory() as home:
        distilled = Path(home, "distilled")
        if "distill" in only:  # while there is no engine, whose thread would slow it down
            distill_into(distilled, model, document.text, console)
        engine = Engine(EngineConfig(model))
        engine.start()
        try:
            return ask_all(engine, model.name, document, distilled, only)
        finally:
            engine.stop()


def distill_into(folder: Path, model: Path, text: str, console: Console) -> None:
    from inference.d2l.distill import distill

    with console.status("Distilling ...") as status:

        def show(share: float, message: str) -> None:
            status.update(f"Distilling: {message}")

        distill(model, text, folder, show, lambda: False)


def ask_all(engine: Any, model_name: str, document: Any, distilled: Path, only: Sequence[str]) -> dict[str, Any]:
    from inference.d2l import evaluate
    from inference.hypernetworks import hypernetworks

    def hypernet() -> Any:
        internalizer = hypernetworks.internalizer(engine, model_name)
        if internalizer is None:
            raise CommandError(f"There is no hypernetwork for {model_name}; leave hypernet out with --only.")
        return evaluate.with_adapters(engine, [document], internalizer.internalize)

    def bring(text: str, folder: Path) -> None:
        shutil.copytree(distilled, folder)

    ways: dict[str, Callable[[], Any]] = {
        "base": lambda: evaluate.on_base(engine, [document]),
        "in-context": lambda: evaluate.in_context(engine, [document]),
        "hypernet": hypernet,
        "distill": lambda: evaluate.with_adapters(engine, [document], bring),
    }
    return {way: ways[way]() for way in WAYS if way in only}


def side_by_side(found: dict[str, Any]) -> Table:
    table = Table(show_lines=True)
    table.add_column("question")
    for way, answers in found.items():
        right = sum(answer.is_right for answer in answers)
        table.add_column(f"{way}: {right} of {len(answers)}")
    for row in zip(*found.values(), strict=True):
        table.add_row(escape(row[0].question), *map(marked, row))
    return table


def marked(answer: Any) -> str:
    return f"{'[green]right[/green]' if answer.is_right else '[red]wrong[/red]'} {escape(answer.text)}"
