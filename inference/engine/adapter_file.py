"""Reading a PEFT LoRA folder: checked against the base model, scaled, and packed as the slots hold it."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils import load_peft_weights
from peft.utils.other import get_pattern_key
from safetensors import SafetensorError
from torch import Tensor

from inference.engine.errors import AdapterIncompatible
from inference.engine.families import DecoderSpec
from inference.engine.projections import GROUPS, Group, Projection, projections

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
CONFIG_BYTES = 1 << 20
LEAST_RANK_CLASS = 8

# Options that say nothing about the maths of a loaded adapter, or that are read below
READ_OR_HARMLESS = {
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_alpha",
    "lora_dropout",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "peft_type",
    "peft_version",
    "r",
    "rank_pattern",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_rslora",
}
# Initialisations that leave the base weights as they are
PLAIN_INITIALISATIONS = (True, False, "gaussian", "eva", "orthogonal")
TENSOR = re.compile(
    r"base_model\.model\.(?P<path>(?:\w+\.)*layers\.(?P<layer>\d+)\.(?:self_attn|mlp)\.(?P<name>\w+))"
    r"\.lora_(?P<factor>[AB])\.weight"
)


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
    """The factors of one group of projections, over all layers, padded to the rank class R.

    Attributes:
        a: [layers, projections * R, in].
        b: for each projection [layers, R, out]; the scaling is multiplied in.
    """

    a: Tensor
    b: tuple[Tensor, ...]


@dataclass(frozen=True)
class AdapterWeights:
    """An adapter ready for a slot."""

    info: AdapterInfo
    rank_class: int
    factors: Mapping[Group, GroupFactors]


@dataclass(frozen=True)
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
    config = read_config(path)
    modules = read_modules(path, config, spec)
    rank = max(factors.a.shape[0] for factors in modules.values())
    if rank > max_rank:
        raise AdapterIncompatible("r", f"the rank is {rank}; this server takes at most {max_rank}.")
    info = AdapterInfo(
        base_model=config.base_model_name_or_path or "",
        rank=rank,
        alpha=float(config.lora_alpha),
        target_modules=tuple(sorted({name for _, name in modules})),
        size_bytes=sum((path / name).stat().st_size for name in (CONFIG, WEIGHTS)),
    )
    rank_class = max(LEAST_RANK_CLASS, 1 << (rank - 1).bit_length())
    targeted = {name for _, name in modules}
    factors = {
        group: pack(group, modules, spec, rank_class)
        for group in GROUPS
        if any(projection.name in targeted for projection in projections(group, spec))
    }
    return AdapterWeights(info, rank_class, factors)


def read_config(path: Path) -> LoraConfig:
    """PEFT's own configuration object, once every option in the file is known to be served."""
    file = path / CONFIG
    try:
        if file.stat().st_size > CONFIG_BYTES:
            raise AdapterIncompatible(CONFIG, f"the file must be at most {CONFIG_BYTES} bytes.")
        options = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise AdapterIncompatible(CONFIG, f"the file cannot be read as JSON ({type(error).__name__}).") from error
    if not isinstance(options, dict):
        raise AdapterIncompatible(CONFIG, "the file must hold a JSON object.")
    check_options(options)
    try:
        known = set(LoraConfig.__dataclass_fields__)
        return LoraConfig(**{name: value for name, value in options.items() if name in known})
    except (TypeError, ValueError, AttributeError, ImportError) as error:
        raise AdapterIncompatible(CONFIG, f"PEFT refuses the options: {str(error)[:200]}") from error


def check_options(options: dict[str, Any]) -> None:
    """Refuse what is not LoRA, what changes the maths in a way not served, and values of the wrong kind."""
    if options.get("peft_type") != "LORA":
        raise AdapterIncompatible("peft_type", f"it is {options.get('peft_type')!r}; only LORA is served.")
    if not is_whole(options.get("r")) or options["r"] < 1:
        raise AdapterIncompatible("r", "the rank must be a whole number of at least 1.")
    if not is_number(options.get("lora_alpha")):
        raise AdapterIncompatible("lora_alpha", "it must be a finite number.")
    for name, is_value in (("rank_pattern", is_whole), ("alpha_pattern", is_number)):
        pattern = options.get(name) or {}
        if not isinstance(pattern, dict) or not all(is_value(value) and value > 0 for value in pattern.values()):
            raise AdapterIncompatible(name, "it must map module names to positive numbers.")
        for expression in pattern:
            check_expression(name, expression)
    if not isinstance(options.get("use_rslora") or False, bool):
        raise AdapterIncompatible("use_rslora", "it must be true or false.")
    if isinstance(options.get("target_modules"), str):
        check_expression("target_modules", options["target_modules"])
    if options.get("init_lora_weights", True) not in PLAIN_INITIALISATIONS:
        raise AdapterIncompatible(
            "init_lora_weights",
            f"{options['init_lora_weights']!r} changes the base weights; save the adapter as a plain LoRA first.",
        )
    defaults = LoraConfig().to_dict()
    for name, value in options.items():
        if name not in READ_OR_HARMLESS and value and value != defaults.get(name):
            if name == "bias" and value == "none":
                continue
            raise AdapterIncompatible(name, f"{str(value)[:80]!r} is not served; leave the option out.")


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    return is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def check_expression(field: str, expression: str) -> None:
    try:
        re.compile(expression)
    except (re.error, RecursionError, OverflowError) as error:
        raise AdapterIncompatible(field, f"{expression[:80]!r} is not a regular expression.") from error


def read_modules(path: Path, config: LoraConfig, spec: DecoderSpec) -> dict[tuple[int, str], Factors]:
    """The factors of every targeted module, by layer and projection."""
    tensors = read_tensors(path)
    expected = dict(targeted_modules(config, spec))
    found: dict[tuple[int, str], dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        match = TENSOR.fullmatch(key)
        place = (int(match["layer"]), match["name"]) if match else None
        if match is None or place not in expected:
            raise AdapterIncompatible(
                "target_modules",
                f"the tensor {key[:120]} is not of a served module in {spec.layers} layers; served are "
                f"{', '.join(served_names(spec))}.",
            )
        found.setdefault(place, {})[match["factor"]] = tensor
    modules = {}
    for place, projection in expected.items():
        name = f"layers.{place[0]}.{projection.name}"
        pair = found.get(place, {})
        if set(pair) != {"A", "B"}:
            raise AdapterIncompatible(WEIGHTS, f"lora_A or lora_B of {name} is missing.")
        modules[place] = check_module(name, module_key(*place), pair["A"], pair["B"], projection, config)
    if not modules:
        raise AdapterIncompatible(
            "target_modules", f"it names none of the served modules: {', '.join(served_names(spec))}."
        )
    return modules


def read_tensors(path: Path) -> dict[str, Tensor]:
    if not (path / WEIGHTS).is_file():
        raise AdapterIncompatible(WEIGHTS, "the file is missing; only safetensors are taken, never pickles.")
    try:
        return load_peft_weights(str(path), device="cpu")
    except (OSError, SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise AdapterIncompatible(WEIGHTS, f"the file is not valid safetensors ({type(error).__name__}).") from error


def served_names(spec: DecoderSpec) -> list[str]:
    return [projection.name for group in GROUPS for projection in projections(group, spec)]


def module_key(layer: int, name: str) -> str:
    """The module's name inside the base model, which PEFT matches its patterns against."""
    block = "mlp" if name in ("gate_proj", "up_proj", "down_proj") else "self_attn"
    return f"model.layers.{layer}.{block}.{name}"


def targeted_modules(config: LoraConfig, spec: DecoderSpec) -> Iterator[tuple[tuple[int, str], Projection]]:
    """The modules that PEFT would adapt, by PEFT's own matching."""
    if config.target_modules is None:
        raise AdapterIncompatible("target_modules", f"name them: {', '.join(served_names(spec))}.")
    everything = config.target_modules == "all-linear"
    if not everything:
        refuse_other_targets(config, spec)
    for group in GROUPS:
        for projection in projections(group, spec):
            for layer in range(spec.layers):
                if everything or check_target_module_exists(config, module_key(layer, projection.name)):
                    yield (layer, projection.name), projection


def refuse_other_targets(config: LoraConfig, spec: DecoderSpec) -> None:
    names = served_names(spec)
    if not isinstance(config.target_modules, str):
        for name in config.target_modules:
            if not any(module_key(0, served).endswith(str(name).rpartition(".")[2]) for served in names):
                raise AdapterIncompatible(
                    "target_modules", f"{str(name)[:80]!r} is not served; served are {', '.join(names)}."
                )
    for other in ("lm_head", "model.embed_tokens"):
        if check_target_module_exists(config, other):
            raise AdapterIncompatible("target_modules", f"{other} is not served; served are {', '.join(names)}.")


def check_module(name: str, key: str, a: Tensor, b: Tensor, projection: Projection, config: LoraConfig) -> Factors:
    """One module's factors, with shapes as the base model and the configuration have them."""
    rank = config.rank_pattern.get(get_pattern_key(config.rank_pattern.keys(), key), config.r)
    alpha = config.alpha_pattern.get(get_pattern_key(config.alpha_pattern.keys(), key), config.lora_alpha)
    for factor, tensor, shape in (
        ("lora_A", a, (rank, projection.inputs)),
        ("lora_B", b, (projection.outputs, rank)),
    ):
        if tuple(tensor.shape) != shape:
            raise AdapterIncompatible(
                WEIGHTS,
                f"{factor} of {name} has shape {list(tensor.shape)}; base model and rank ask for {list(shape)}.",
            )
        if not tensor.is_floating_point():
            raise AdapterIncompatible(WEIGHTS, f"{factor} of {name} must hold floating-point numbers.")
    return Factors(a.float(), b.float(), alpha / math.sqrt(rank) if config.use_rslora else alpha / rank)


def pack(group: Group, modules: Mapping[tuple[int, str], Factors], spec: DecoderSpec, rank_class: int) -> GroupFactors:
    """The group's factors side by side; what is not adapted, and ranks beyond a module's own, are zero."""
    members = projections(group, spec)
    a = torch.zeros(spec.layers, len(members) * rank_class, members[0].inputs)
    b = tuple(torch.zeros(spec.layers, rank_class, member.outputs) for member in members)
    for position, member in enumerate(members):
        for layer in range(spec.layers):
            factors = modules.get((layer, member.name))
            if factors is None:
                continue
            rank = factors.a.shape[0]
            first = position * rank_class
            a[layer, first : first + rank] = factors.a
            b[position][layer, :rank] = factors.b.T * factors.scaling
    packed = GroupFactors(a, b)
    refuse_nonfinite(packed, members)
    return packed


def refuse_nonfinite(packed: GroupFactors, members: tuple[Projection, ...]) -> None:
    """Refuse NaN and infinity. Of the packed tensors, since asking once is many times faster than for each module."""
    if all(is_finite(tensor) for tensor in (packed.a, *packed.b)):
        return
    names = ", ".join(member.name for member in members)
    raise AdapterIncompatible(WEIGHTS, f"lora_A or lora_B of {names} holds NaN or infinite numbers.")


def is_finite(tensor: Tensor) -> bool:
    """A finite sum says so in one pass; only where large numbers overflow it is each one looked at."""
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())
