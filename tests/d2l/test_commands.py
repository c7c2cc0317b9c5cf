from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from rich.console import Console

from inference.d2l.evaluate import Answer
from inference.management.commands.eval_d2l import side_by_side


@pytest.mark.parametrize("text", ["{", "[1]", '[{"question": "?"}]'])
def test_questions_that_cannot_be_read_are_named(text: str, tmp_path: Path) -> None:
    document, questions = tmp_path / "document.txt", tmp_path / "questions.json"
    document.write_text("A fact.")
    questions.write_text(text)
    with pytest.raises(CommandError, match=r"questions\.json must be a JSON list"):
        call_command("eval_d2l", document, questions)


def test_so_is_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file"):
        call_command("eval_d2l", tmp_path / "none.txt", tmp_path / "none.json")


def test_a_training_has_steps() -> None:
    with pytest.raises(CommandError, match="--steps must be at least 1"):
        call_command("train_d2l", steps=0)


def test_an_answer_is_printed_as_it_is() -> None:
    answer = Answer("Which [bold]?", "x", "in [/red] brackets")
    console = Console(width=120, record=True, file=StringIO())
    console.print(side_by_side({"base": [answer]}))
    shown = console.export_text()
    assert "Which [bold]?" in shown
    assert "wrong in [/red] brackets" in shown
