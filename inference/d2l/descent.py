"""Steps of gradient descent that go on where a training was broken off."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from inference.d2l.errors import Cancelled
from inference.d2l.settings import TrainingSettings

SAVED_EVERY = 50
LARGEST_GRADIENT = 1.0  # its norm; larger ones are scaled down


@dataclass(frozen=True)
class TrainingPoint:
    step: int
    steps: int
    loss: float


@dataclass(frozen=True)
class Descent:
    """
    Attributes:
        part: the file that holds what was reached.
        progress: told after every step.
        cancelled: asked before every step.
    """

    part: Path
    settings: TrainingSettings
    progress: Callable[[TrainingPoint], None]
    cancelled: Callable[[], bool]

    def run(
        self,
        network: nn.Module,
        steps: range,
        rate: Callable[[int], float],
        loss_of: Callable[[int], Tensor],
        weight_decay: float = 0.0,
    ) -> None:
        """Lower the loss over some steps, or over those of them that were not done before.

        Args:
            rate: the learning rate of a step.

        Raises:
            Cancelled
        """
        optimizer = AdamW(network.parameters(), weight_decay=weight_decay)
        name = type(network).__name__
        reached = self.reached()
        if saved := reached.get(name):
            network.load_state_dict(saved["network"])
            optimizer.load_state_dict(saved["optimizer"])
            steps = range(saved["step"], steps.stop)
        for step in steps:
            self.check()
            loss = loss_of(step)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
            for group in optimizer.param_groups:
                group["lr"] = rate(step)
            optimizer.step()
            self.progress(TrainingPoint(step + 1, self.settings.steps, round(loss.item(), 4)))
            if (step + 1) % SAVED_EVERY == 0 or step + 1 == steps.stop:
                reached[name] = {
                    "step": step + 1,
                    "network": network.state_dict(),
                    "optimizer": optimizer.state_dict(),
                }
                partial = self.part.with_suffix(".saving")
                torch.save({"settings": asdict(self.settings), **reached}, partial)
                partial.replace(self.part)

    def reached(self) -> dict[str, Any]:
        """What was saved of a training with the same settings."""
        if not self.part.exists():
            return {}
        saved = torch.load(self.part, weights_only=True)
        return saved if saved.pop("settings") == asdict(self.settings) else {}

    def check(self) -> None:
        if self.cancelled():
            raise Cancelled
