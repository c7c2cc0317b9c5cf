"""Reading a PEFT LoRA folder: checked against the base model, scaled, and written as the slots hold it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from inference.engine.adapter_layout import WEIGHTS, Layout, Part, layout_of
from inference.engine.adapter_options import CONFIG, AdapterOptions, read_options
from inference.engine.errors import AdapterIncompatible
from inference.engine.families import DecoderSpec
from inference.engine.projections import Group
from inference.engine.tensor_file import contents, read_header


@dataclass(frozen=True)
class AdapterInfo:
    """What there is to say of an adapter: `rank` is the highest of its modules, `alpha` the configuration's."""

    base_model: str
    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True)
class Factors:
    """Of a part of an adapter.

    Attributes:
        a: [layers, r, in].
        b: [layers, chunks, r, width]; scaled.
    """

    part: Part
    a: Tensor
    b: Tensor

    def write(self, a: Tensor, b: Tensor) -> None:
        """Write them to a slot, as `AdapterWeights.write` does."""
        rows = slice(self.part.row, self.part.row + self.part.rank)
        for here, there in runs(self.part.layers):
            a[there, rows].copy_(self.a[here])
            b[there, self.part.chunks, : self.part.rank].copy_(self.b[here])


@dataclass(frozen=True)
class AdapterWeights:
    """An adapter ready for a slot."""

    info: AdapterInfo
    layout: Layout
    factors: Mapping[Group, Sequence[Factors]]

    def write(self, group: Group, a: Tensor, b: Tensor) -> None:
        """Write a group's factors to a slot; what is not adapted, and ranks beyond a module's own, become zero.

        Args:
            a: [layers, projections * R, in], R the rank class.
            b: [layers, chunks, R, width], the outputs of all projections cut into chunks of one width.
        """
        factors = self.factors[group]
        if sum(each.a.numel() for each in factors) < a.numel():
            a.zero_()
            b.zero_()
        for each in factors:
            each.write(a, b)


def runs(layers: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    """Where layers that follow one another are in a part, and in the group."""
    for ahead, run in groupby(enumerate(layers), lambda place: place[1] - place[0]):
        places = [place for place, _ in run]
        here = slice(places[0], places[-1] + 1)
        yield here, slice(here.start + ahead, here.stop + ahead)


def read_adapter(path: Path, spec: DecoderSpec, max_rank: int) -> AdapterWeights:
    """Read `adapter_config.json` and `adapter_model.safetensors` of a folder.

    Safe on any thread.

    Raises:
        AdapterIncompatible: naming the option or the tensor at fault, and what would be accepted.
    """
    options = read_options(path, spec, max_rank)
    layout, data = read_weights(path / WEIGHTS, options, spec)
    factors = {group: [scaled(part, data) for part in of_group.parts] for group, of_group in layout.groups.items()}
    info = AdapterInfo(
        base_model=options.base_model,
        rank=options.rank,
        alpha=options.alpha,
        target_modules=options.names,
        size_bytes=sum((path / name).stat().st_size for name in (CONFIG, WEIGHTS)),
    )
    return AdapterWeights(info, layout, factors)


def read_weights(file: Path, options: AdapterOptions, spec: DecoderSpec) -> tuple[Layout, Tensor]:
    """The file's layout and contents; they are read once the layout is as it has to be."""
    if not file.is_file():
        raise AdapterIncompatible(WEIGHTS, "the file is missing; only safetensors are taken, never pickles.")
    try:
        header = read_header(file)
        return layout_of(header, options, spec), contents(header)
    except (OSError, SafetensorError, ValueError) as error:
        raise AdapterIncompatible(WEIGHTS, f"the file is not valid safetensors ({type(error).__name__}).") from error


def scaled(part: Part, data: Tensor) -> Factors:
    """The part's factors, views of the contents where they can be; B is multiplied there."""
    a, b = part.a.of(data), part.b.of(data).float().mul_(part.scaling)
    for factor, numbers in (("lora_A", a), ("lora_B", b)):
        refuse_nonfinite(f"{factor} of {part.name}", numbers)
    return Factors(part, a, b.unflatten(1, (-1, part.width)).mT)


def refuse_nonfinite(name: str, numbers: Tensor) -> None:
    """Refuse NaN and infinity. Either shows in the sum, which is quick; as sums may overflow, it is only a hint."""
    if not numbers.sum().isfinite() and not numbers.float().isfinite().all():
        raise AdapterIncompatible(WEIGHTS, f"{name} holds NaN or infinite numbers.")
