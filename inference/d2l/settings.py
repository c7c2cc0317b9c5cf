"""What a training is made with. Imports no PyTorch: the server describes it to clients."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingSettings:
    """What a training is asked for.

    Attributes:
        steps: of the salience, each on `batch` sentences.
        early_layers: layers of the base model that read the whole document.
        width: of the salience's inner layer.
        directions: kept for each layer.
        seed: of everything that is drawn.
    """

    steps: int = 600
    seed: int = 0
    batch: int = 48
    learning_rate: float = 2e-3
    early_layers: int = 6
    width: int = 64
    directions: int = 192
