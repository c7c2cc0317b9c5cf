"""What a distillation learns, on a base model of transformers."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from inference.d2l.errors import BaseUnsupported
from inference.d2l.factors import write
from inference.d2l.internalize import Internalizer
from inference.d2l.peft_files import save
from inference.d2l.reading import read
from inference.d2l.student import Student

RANK = 8


class Learner(Protocol):
    """
    Attributes:
        model: the base model, changed while it is `applied`.
        network: what the gradients reach.
        rate: the learning rate.
        epochs, least_steps: how long it learns: so often each lesson, and more often where that makes few steps.
    """

    model: PreTrainedModel
    network: nn.Module
    rate: float
    epochs: int
    least_steps: int

    def applied(self) -> AbstractContextManager[None]:
        """The model with what was learned."""

    def save(self, folder: Path, base_model: str) -> int:
        """Write the adapter; returns its rank."""


class WrittenOpening:
    """What the opening of a chat holds instead of its own keys and values; at first what the hypernetwork writes."""

    rate = 6e-2
    epochs, least_steps = 6, 0

    def __init__(self, model: PreTrainedModel, internalizer: Internalizer, pieces: list[list[int]]) -> None:
        self.model, self.reader = model, internalizer.reader
        self.flags = internalizer.hypernetwork.flags
        reading = read(self.reader, internalizer.hypernetwork.salience, pieces)
        wanted = internalizer.hypernetwork.wanted(reading).to(model.device)
        slots = self.reader.opening.slots[: len(reading.tokens)]
        self.columns = nn.ParameterList(of_layer.clone().unsqueeze(0) for of_layer in wanted)
        self.network: nn.Module = self.columns
        self.student = Student(model, self.flags.first(len(slots)), slots)
        self.is_used = torch.ones(1, len(slots), dtype=torch.bool, device=model.device)

    def applied(self) -> AbstractContextManager[None]:
        return self.student.writing(lambda layer: self.columns[layer], self.is_used)

    def save(self, folder: Path, base_model: str) -> int:
        wanted = torch.cat([each.detach() for each in self.columns])
        return save(write(self.reader, self.flags, wanted), folder, base_model)


class PlainLora:
    """A LoRA on all linear layers; nothing at first."""

    rate = 2e-3
    epochs, least_steps = 8, 100

    def __init__(self, model: PreTrainedModel) -> None:
        """Raises BaseUnsupported."""
        try:
            self.tuned = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear"))
        except ValueError as error:
            raise BaseUnsupported(f"No adapter can be trained for the base model: {error}") from error
        self.model: PreTrainedModel = self.tuned.get_base_model()
        self.network: nn.Module = self.tuned

    def applied(self) -> AbstractContextManager[None]:
        return nullcontext()

    def save(self, folder: Path, base_model: str) -> int:
        self.tuned.peft_config["default"].base_model_name_or_path = base_model
        self.tuned.save_pretrained(folder, save_embedding_layers=False)
        return RANK
