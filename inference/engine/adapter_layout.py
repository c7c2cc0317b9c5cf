"""Where the file of an adapter has the factors that a slot holds side by side."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from inference.engine.adapter_options import AdapterOptions, ModuleOptions, Place, module_key, served_names
from inference.engine.errors import AdapterIncompatible
from inference.engine.families import DecoderSpec
from inference.engine.projections import GROUPS, Group, chunk_width, projections
from inference.engine.tensor_file import FLOATS, Header, Kind, Piece, Stack, kinds_in, pieces_of, stack

WEIGHTS = "adapter_model.safetensors"
LEAST_RANK_CLASS = 8
REMEMBERED = 64


@dataclass(frozen=True)
class Part:
    """One projection's factors in those layers where nothing but their numbers differs.

    Attributes:
        layers: which ones, from the group's first.
        rank: r.
        scaling: what B A is multiplied by.
        row: where the projection's rows begin in the group's A.
        chunks: those of the group's outputs that are the projection's.
        width: of a chunk.
        a: [layers, r, in].
        b: [layers, out, r].
    """

    name: str
    layers: tuple[int, ...]
    rank: int
    scaling: float
    row: int
    chunks: slice
    width: int
    a: Stack
    b: Stack


@dataclass(frozen=True)
class GroupLayout:
    """layers: from the first to the last that has any factors."""

    layers: range
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Layout:
    """All ranks are padded to the rank class."""

    rank_class: int
    groups: Mapping[Group, GroupLayout]


@lru_cache(REMEMBERED)  # adapters that were made alike are laid out alike
def layout_of(header: Header, options: AdapterOptions, spec: DecoderSpec) -> Layout:
    """Check what a file has against the adapter's options; of its contents nothing is read.

    Raises:
        OSError, SafetensorError, ValueError: it is not a safetensors file.
        AdapterIncompatible: tensors are missing, of another kind, or left over.
    """
    kinds = kinds_in(header.file)
    check_tensors(kinds, options, spec)
    pieces, names = pieces_of(kinds), options.names
    rank_class = max(LEAST_RANK_CLASS, 1 << (options.rank - 1).bit_length())
    groups = {
        group: group_layout(group, options, spec, pieces, rank_class)
        for group in GROUPS
        if any(projection.name in names for projection in projections(group, spec))
    }
    return Layout(rank_class, groups)


def group_layout(
    group: Group, options: AdapterOptions, spec: DecoderSpec, pieces: Mapping[str, Piece], rank_class: int
) -> GroupLayout:
    members, width = projections(group, spec), chunk_width(group, spec)
    alike: dict[ModuleOptions, list[int]] = defaultdict(list)
    for (layer, _), module in options.modules.items():
        if module.projection in members:
            alike[module].append(layer)
    first, last = min(map(min, alike.values())), max(map(max, alike.values()))
    chunks = [0, *accumulate(member.outputs // width for member in members)]
    parts = []
    for module, layers in alike.items():
        name, index = module.projection.name, members.index(module.projection)
        starts = {layer: pieces[tensor_names((layer, name))[0]].start for layer in layers}
        in_file = sorted(starts, key=starts.__getitem__)
        names = zip(*(tensor_names((layer, name)) for layer in in_file), strict=True)
        a, b = (stack([pieces[tensor] for tensor in of_factor]) for of_factor in names)
        parts.append(
            Part(
                name=name,
                layers=tuple(layer - first for layer in in_file),
                rank=module.rank,
                scaling=module.scaling,
                row=index * rank_class,
                chunks=slice(chunks[index], chunks[index + 1]),
                width=width,
                a=a,
                b=b,
            )
        )
    return GroupLayout(range(first, last + 1), tuple(parts))


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
