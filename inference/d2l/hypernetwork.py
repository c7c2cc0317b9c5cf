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
from inference.d2l.flags import Flags
from inference.d2l.reading import Reading
from inference.d2l.salience import Salience
from inference.engine.decoder import Decoder

FORMAT = "lab-d2l-3"
SAME_MODEL = 0.999  # cosine of the mean embeddings; dtypes differ by far less, other models by far more


@dataclass(frozen=True)
class Hypernetwork:
    """Turns what the base model reads into the keys and values that a LoRA is to write.

    Attributes:
        salience: ranks what is read.
        flags: tell where to write.
        projections: [layers, 2 * kv_size, hidden], added to the base model's own for the tokens that are kept.
        bias: [layers, 2 * kv_size], likewise.
        base: the mean embedding of the base model, [hidden], by which it is known again.
        made: how it was trained, with seed, settings and scores.
    """

    salience: Salience
    flags: Flags
    projections: Tensor
    bias: Tensor
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
        if self.projections.shape == (spec.layers, 2 * spec.kv_size, spec.hidden):
            cosine = F.cosine_similarity(self.base, mean_embedding(decoder), dim=0)
            if cosine > SAME_MODEL:
                return
        raise HypernetworkMisfit(self.base_name, name)

    def wanted(self, reading: Reading) -> Tensor:
        """The keys and values to be written for what was read, [layers, kept, 2 * kv_size], float32."""
        changes = torch.bmm(reading.inputs.float().cpu(), self.projections.transpose(1, 2)) + self.bias.unsqueeze(1)
        return changes.to(reading.keys_and_values.device) + reading.keys_and_values

    def save(self, path: Path) -> None:
        tensors = {f"salience.{name}": value for name, value in vars(self.salience).items() if name != "layers"}
        tensors |= {f"flags.{name}": value for name, value in vars(self.flags).items() if name != "layer"}
        tensors |= {name: getattr(self, name) for name in ("projections", "bias", "base")}
        stored = {name: narrow(value).contiguous() for name, value in tensors.items()}
        facts = {"format": FORMAT, "base_name": self.base_name, "made": json.dumps(self.made)}
        facts |= {"flag_layer": str(self.flags.layer), "early_layers": str(self.salience.layers)}
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
                tensors = {name: wide(file.get_tensor(name)) for name in list(file.keys())}
        except SafetensorError as error:
            raise ValueError(f"{path} cannot be read: {error}") from error

        def part(of: str) -> dict[str, Tensor]:
            return {name.removeprefix(of): value for name, value in tensors.items() if name.startswith(of)}

        return cls(
            salience=Salience(layers=int(facts["early_layers"]), **part("salience.")),
            flags=Flags(layer=int(facts["flag_layer"]), **part("flags.")),
            base_name=facts["base_name"],
            made=json.loads(facts["made"]),
            **{name: value for name, value in tensors.items() if "." not in name},
        )


def narrow(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float16) if tensor.is_floating_point() else tensor


def wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def mean_embedding(decoder: Decoder) -> Tensor:
    """[hidden], float32, on the CPU."""
    return decoder.weights.embedding.float().mean(dim=0).cpu()
