"""Learning what keys and values to write for the words that are kept of a document.

A student, the base model with the document written over its opening, learns to answer questions about the document,
and to answer all others as the base model does. What it writes over the opening is what the base model's projections
say of the kept words, and what the learned projections add.
"""

import random
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from inference.d2l.chats import Chat
from inference.d2l.descent import Descent
from inference.d2l.flags import Flags
from inference.d2l.packed import Packed, answer_tokens
from inference.d2l.pages import drawn_pages
from inference.d2l.reader import Reader
from inference.d2l.reading import Reading
from inference.d2l.salience import Salience
from inference.d2l.settings import TrainingSettings
from inference.d2l.student import Student
from inference.d2l.teacher import Teacher
from inference.engine.engine import Engine

ORDINARY = 2  # chats beside those about a document
ORDINARY_WEIGHT = 2.0  # of what they lose against what the others lose
WARM_UP = 30  # steps


class Projections(nn.ModuleList):
    """What is added to the k and v projections of each layer, nothing at first: [.., hidden] -> [.., 2 * kv_size]."""

    def __init__(self, layers: int, hidden: int, kv_size: int) -> None:
        super().__init__(nn.Linear(hidden, 2 * kv_size) for _ in range(layers))
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def stacked(self) -> tuple[Tensor, Tensor]:
        """The weights [layers, 2 * kv_size, hidden] and biases [layers, 2 * kv_size], on the CPU."""
        linears = [each for each in self if isinstance(each, nn.Linear)]
        weights, biases = ([getattr(each, name).detach().cpu() for each in linears] for name in ("weight", "bias"))
        return torch.stack(weights), torch.stack(biases)


def train_projections(
    engine: Engine,
    reader: Reader,
    model: PreTrainedModel,
    salience: Salience,
    flags: Flags,
    chats: Sequence[Chat],
    settings: TrainingSettings,
    descent: Descent,
) -> Projections:
    """
    Args:
        engine: runs while it is asked only.
        model: the engine's, of transformers.
        chats: ordinary ones, to be left as they are.

    Raises:
        Cancelled
    """
    spec, opening = reader.spec, reader.opening.tokens
    projections = Projections(spec.layers, spec.hidden, spec.kv_size).to(model.device)
    slots = len(reader.opening.slots)
    student = Student(model, flags, reader.opening.slots)
    teacher = Teacher.of(model, opening, chats)
    steps = settings.projection_steps

    def loss(step: int) -> Tensor:
        draw = random.Random(f"{settings.seed} projections {step}")
        with engine.running():
            pages = drawn_pages(engine, reader, salience, draw, settings.documents)
        chosen = [[draw.randrange(len(chats)) for _ in range(ORDINARY)] for _ in pages]
        rows = [[*page.chats, *(chats[each] for each in of_row)] for page, of_row in zip(pages, chosen, strict=True)]
        inputs, keys_and_values, is_used = padded([page.reading for page in pages], slots, model.device)

        def wanted(layer: int) -> Tensor:
            changes: Tensor = projections[layer](inputs[:, layer])
            return keys_and_values[:, layer] + changes

        with student.writing(wanted, is_used):
            logits = Packed.of(opening, rows).answer_logits(model)
        about = [chat for page in pages for chat in page.chats]
        is_about = torch.tensor(
            [
                number < len(page.chats)
                for page, row in zip(pages, rows, strict=True)
                for number, chat in enumerate(row)
                for _ in chat.answer
            ]
        )
        answered = answer_tokens(about).to(logits.device)
        lost = teacher.divergence([each for of_row in chosen for each in of_row], logits[~is_about])
        return F.cross_entropy(logits[is_about], answered) + ORDINARY_WEIGHT * lost

    def rate(step: int) -> float:
        done = step - steps.start
        return settings.learning_rate * min(1.0, (done + 1) / WARM_UP) * max(0.05, 1 - done / len(steps))

    descent.run(projections, steps, rate, loss)
    return projections


def padded(readings: Sequence[Reading], slots: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Several readings side by side.

    Returns:
        the inputs [readings, layers, slots, hidden], the keys and values [readings, layers, slots, 2 * kv_size], both
        float32, and which slots are used [readings, slots].
    """
    inputs, keys_and_values = (
        torch.stack([F.pad(part.float(), (0, 0, 0, slots - part.shape[1])) for part in parts]).to(device)
        for parts in ([each.inputs for each in readings], [each.keys_and_values for each in readings])
    )
    kept = torch.tensor([len(each.tokens) for each in readings], device=device)
    return inputs, keys_and_values, torch.arange(slots, device=device) < kept.unsqueeze(1)
