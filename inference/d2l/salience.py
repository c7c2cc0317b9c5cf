"""Which tokens of a sentence an answer may hang on."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Salience:
    """Scores each token of a sentence by how much an answer may hang on it: a two-layer perceptron on early states.

    Attributes:
        layers: how many layers of the base model are run before it.
        mean, scale: [hidden], the states' usual values.
        inner, inner_bias, outer: [width, hidden], [width], [width].
    """

    layers: int
    mean: Tensor
    scale: Tensor
    inner: Tensor
    inner_bias: Tensor
    outer: Tensor

    def logits(self, states: Tensor) -> Tensor:
        """states [tokens, hidden] -> [tokens], on the CPU; above 0 a token is worth keeping."""
        normal = (states.float().cpu() - self.mean) / self.scale
        return F.gelu(F.linear(normal, self.inner, self.inner_bias)) @ self.outer
