"""`manage.py train_d2l`: train a hypernetwork for the base model, here and now."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from inference.d2l.settings import TrainingSettings
from inference.model_files import ModelUnavailable, resolve_model


class Command(BaseCommand):
    help = "Train a hypernetwork for the base model; one that was broken off is taken up."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--steps", type=int, default=TrainingSettings.steps)
        parser.add_argument("--seed", type=int, default=TrainingSettings.seed)
        parser.add_argument("--out", type=Path, help="The file to write; by default one under LAB_HOME, used at once.")

    def handle(self, *args: Any, steps: int, seed: int, out: Path | None, **options: Any) -> None:
        from inference.d2l.errors import D2LError
        from inference.d2l.training import train
        from inference.engine.errors import EngineError

        if steps < 1:
            raise CommandError("--steps must be at least 1.")
        console = Console(highlight=False)
        try:
            model = resolve_model(settings.LAB_MODEL, settings.HOME.root, console)
        except ModelUnavailable as error:
            raise CommandError(str(error)) from None
        out = out or settings.HOME.hypernetworks / f"{model.path.name}.safetensors"
        out.parent.mkdir(parents=True, exist_ok=True)
        columns = (TextColumn("loss {task.fields[loss]:.4f}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as bars:
            bar = bars.add_task("training", total=steps, loss=0.0)
            try:
                score = train(
                    model.path,
                    out,
                    TrainingSettings(steps=steps, seed=seed),
                    lambda point: bars.update(bar, completed=point.step, loss=point.loss),
                    lambda: False,
                )
            except (D2LError, EngineError) as error:
                raise CommandError(str(error)) from None
        for name, value in score.as_dict().items():
            console.print(f"{name:18} {value}")
        console.print(f"Written to {out}")
