"""What was learned for one base model, and the file it is kept in."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from inference.d2l.errors import HypernetworkMisfit
from inference.engine.decoder import Decoder

FORMAT = "lab-d2l-2"
SAME_MODEL = 0.999  # cosine of the mean embeddings; dtypes differ by far less, other models by far more


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


@dataclass(frozen=True)
class Hypernetwork:
    """Turns what the base model reads into the factors of a LoRA.

    Attributes:
        directions: [layers, k, hidden], an orthogonal basis of what the attention's inputs usually are in chats, each
            direction scaled to how far an adapter has to keep out of it: from 0, not at all, to 1, wholly.
        first_layer: the first layer that is adapted.
        base: the mean embedding of the base model, [hidden], by which it is known again.
        made: how it was trained, with seed, settings and scores.
    """

    salience: Salience
    directions: Tensor
    first_layer: int
    base: Tensor
    base_name: str
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """What it remembered of held-out documents: needles and facts, from 0 to 2."""
        found = self.made.get("score", {})
        return found.get("needle", 0.0) + found.get("facts", 0.0)

    def require_fit(self, decoder: Decoder, name: str) -> None:
        """Raises HypernetworkMisfit where the model is not the one that this was trained on."""
        spec = decoder.spec
        if self.directions.shape[::2] == (spec.layers, spec.hidden):
            cosine = F.cosine_similarity(self.base, mean_embedding(decoder), dim=0)
            if cosine > SAME_MODEL:
                return
        raise HypernetworkMisfit(self.base_name, name)

    def save(self, path: Path) -> None:
        tensors = {f"salience.{name}": value for name, value in vars(self.salience).items() if name != "layers"}
        tensors |= {name: getattr(self, name) for name in ("directions", "base")}
        stored = {name: value.to(torch.float16).contiguous() for name, value in tensors.items()}
        facts = {"format": FORMAT, "base_name": self.base_name, "made": json.dumps(self.made)}
        facts |= {"first_layer": str(self.first_layer), "early_layers": str(self.salience.layers)}
        partial = path.with_suffix(".tmp")
        save_file(stored, partial, facts)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Hypernetwork":
        """Raises OSError, and ValueError where the file is not one of these."""
        try:
            with safe_open(path, "pt") as file:
                facts = file.metadata() or {}
                if facts.get("format") != FORMAT:
                    raise ValueError(f"{path} is not a hypernetwork of the format {FORMAT}.")
                tensors = {name: file.get_tensor(name).float() for name in list(file.keys())}
        except SafetensorError as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
        parts = {name.removeprefix("salience."): value for name, value in tensors.items() if "." in name}
        return cls(
            salience=Salience(layers=int(facts["early_layers"]), **parts),
            first_layer=int(facts["first_layer"]),
            base_name=facts["base_name"],
            made=json.loads(facts["made"]),
            **{name: value for name, value in tensors.items() if "." not in name},
        )


def mean_embedding(decoder: Decoder) -> Tensor:
    """[hidden], float32, on the CPU."""
    return decoder.weights.embedding.float().mean(dim=0).cpu()
