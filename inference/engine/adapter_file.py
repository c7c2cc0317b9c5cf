"""Reading a PEFT LoRA folder: checked against the base model, scaled, and packed as the slots hold it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional

from inference.engine.adapter_options import (
    CONFIG,
    AdapterOptions,
    Place,
    module_key,
    read_options,
    served_names,
)
from inference.engine.errors import AdapterIncompatible
from inference.engine.families import DecoderSpec
from inference.engine.memory import passing
from inference.engine.projections import GROUPS, Group, Projection, chunk_width, projections
from inference.engine.tensor_file import FLOATS, Kind, kinds_in, read_tensors

WEIGHTS = "adapter_model.safetensors"
LEAST_RANK_CLASS = 8


@dataclass(frozen=True)
class AdapterInfo:
    """What there is to say of an adapter: `rank` is the highest of its modules, `alpha` the configuration's."""

    base_model: str
    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True)
class GroupFactors:
    """The factors of one group of projections, padded to the rank class R.

    Attributes:
        layers: from the first to the last that has any.
        a: [layers, projections * R, in].
        b: [layers, chunks, R, width], the outputs of all projections cut into chunks of one width; scaled.
    """

    layers: range
    a: Tensor
    b: Tensor


@dataclass(frozen=True)
class AdapterWeights:
    """An adapter ready for a slot."""

    info: AdapterInfo
    rank_class: int
    factors: Mapping[Group, GroupFactors]


@dataclass(frozen=True, slots=True)
class Factors:
    """One module's A [r, in] and B [out, r], and what B A is multiplied by."""

    a: Tensor
    b: Tensor
    scaling: float


def read_adapter(path: Path, spec: DecoderSpec, max_rank: int) -> AdapterWeights:
    """Read `adapter_config.json` and `adapter_model.safetensors` of a folder.

    Safe on any thread.

    Raises:
        AdapterIncompatible: naming the option or the tensor at fault, and what would be accepted.
    """
    options = read_options(path, spec, max_rank)
    modules = read_modules(path / WEIGHTS, options, spec)
    rank = max(module.rank for module in options.modules.values())
    names = {name for _, name in modules}
    rank_class = max(LEAST_RANK_CLASS, 1 << (rank - 1).bit_length())
    factors = {
        group: pack(group, modules, spec, rank_class)
        for group in GROUPS
        if not names.isdisjoint(projection.name for projection in projections(group, spec))
    }
    info = AdapterInfo(
        base_model=options.base_model,
        rank=rank,
        alpha=options.alpha,
        target_modules=tuple(sorted(names)),
        size_bytes=sum((path / name).stat().st_size for name in (CONFIG, WEIGHTS)),
    )
    return AdapterWeights(info, rank_class, factors)


def read_modules(file: Path, options: AdapterOptions, spec: DecoderSpec) -> dict[Place, Factors]:
    """The factors of every adapted module, by layer and projection; read once all of them are as they have to be."""
    if not file.is_file():
        raise AdapterIncompatible(WEIGHTS, "the file is missing; only safetensors are taken, never pickles.")
    try:
        kinds = kinds_in(file)
        check_tensors(kinds, options, spec)
        tensors = read_tensors(file, kinds)
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise AdapterIncompatible(WEIGHTS, f"the file is not valid safetensors ({type(error).__name__}).") from error
    modules = {}
    for place, module in options.modules.items():
        a, b = tensor_names(place)
        modules[place] = Factors(tensors[a], tensors[b], module.scaling)
    return modules


def tensor_names(place: Place) -> tuple[str, str]:
    """What PEFT calls a module's A and B."""
    key = module_key(*place)
    return f"base_model.model.{key}.lora_A.weight", f"base_model.model.{key}.lora_B.weight"


def check_tensors(kinds: Mapping[str, Kind], options: AdapterOptions, spec: DecoderSpec) -> None:
    """Refuse tensors that are missing, of another kind, or left over."""
    left = dict(kinds)
    for place, module in options.modules.items():
        shapes = (module.rank, module.projection.inputs), (module.projection.outputs, module.rank)
        for factor, name, shape in zip(("lora_A", "lora_B"), tensor_names(place), shapes, strict=True):
            check_tensor(f"{factor} of {module_key(*place)}", left.pop(name, None), shape)
    for key in left:
        raise AdapterIncompatible(
            "target_modules",
            f"the tensor {key[:120]!r} is not of a module that the configuration adapts in a model of {spec.layers} "
            f"layers; served are {', '.join(served_names(spec))}.",
        )


def check_tensor(name: str, kind: Kind | None, shape: tuple[int, int]) -> None:
    if kind is None:
        raise AdapterIncompatible(WEIGHTS, f"{name} is missing.")
    if kind.shape != shape:
        raise AdapterIncompatible(
            WEIGHTS, f"{name} has shape {list(kind.shape)}; base model and rank ask for {list(shape)}."
        )
    if kind.numbers not in FLOATS:
        raise AdapterIncompatible(WEIGHTS, f"{name} holds {kind.numbers}; taken are {', '.join(FLOATS)}.")


def pack(group: Group, modules: Mapping[Place, Factors], spec: DecoderSpec, rank_class: int) -> GroupFactors:
    """The group's factors side by side; what is not adapted, and ranks beyond a module's own, are zero."""
    members, width = projections(group, spec), chunk_width(group, spec)
    names = {member.name for member in members}
    adapted = [layer for layer, name in modules if name in names]
    layers = range(min(adapted), max(adapted) + 1)
    found = [modules.get((layer, member.name)) or nothing(member) for layer in layers for member in members]
    a = joined([with_rank(rank_class, each.a, 0) for each in found])
    b = joined([with_rank(rank_class, each.b, 1) for each in found]).view(-1, width, rank_class)
    b *= torch.tensor([each.scaling for each in found for _ in range(len(each.b) // width)]).view(-1, 1, 1)
    refuse_nonfinite(a, b, ", ".join(member.name for member in members))
    of_layers = (len(layers), -1)
    return GroupFactors(layers, a.view(*of_layers, members[0].inputs), b.view(*of_layers, width, rank_class).mT)


def joined(parts: list[Tensor]) -> Tensor:
    """Their rows, in float32."""
    rows, columns = sum(len(part) for part in parts), parts[0].shape[1]
    return torch.cat(parts, out=passing((rows, columns), torch.float32))


def with_rank(rank: int, factor: Tensor, dimension: int) -> Tensor:
    """The factor with zeros in a dimension up to a rank."""
    missing = rank - factor.shape[dimension]
    return functional.pad(factor, (0, missing) if dimension else (0, 0, 0, missing)) if missing else factor


def nothing(projection: Projection) -> Factors:
    """The factors of a layer that is not adapted, of rank 0."""
    return Factors(torch.empty(0, projection.inputs), torch.empty(projection.outputs, 0), 0.0)


def refuse_nonfinite(a: Tensor, b: Tensor, names: str) -> None:
    """Refuse NaN and infinity. Either shows in the sum, which is quick; as sums may overflow, it is only a hint."""
    for factor, tensor in (("lora_A", a), ("lora_B", b)):
        if not tensor.sum().isfinite() and not tensor.isfinite().all():
            raise AdapterIncompatible(WEIGHTS, f"{factor} of {names} holds NaN or infinite numbers.")
