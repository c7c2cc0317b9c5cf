"""What a training is made with. Imports no PyTorch: the server describes it to clients."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingSettings:
    """What a training is asked for.

    Attributes:
        steps: the first half of the salience, each on `batch` sentences, the second of the projections, each on
            `documents` documents.
        learning_rate: of the projections.
        early_layers: layers of the base model that read the whole document.
        width: of the salience's inner layer.
        seed: of everything that is drawn.
    """

    steps: int = 1200
    seed: int = 0
    batch: int = 48
    documents: int = 5
    learning_rate: float = 5e-4
    salience_rate: float = 2e-3
    early_layers: int = 6
    width: int = 64

    @property
    def salience_steps(self) -> range:
        return range(self.steps // 2)

    @property
    def projection_steps(self) -> range:
        return range(self.steps // 2, self.steps)
