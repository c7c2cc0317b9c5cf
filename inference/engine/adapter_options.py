"""A PEFT adapter's configuration: every option checked, and what it says of each module.

PEFT's own rules decide which modules are adapted, and with what rank and scaling.
"""

import json
import math
import re
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists

from inference.engine.errors import AdapterIncompatible
from inference.engine.families import DecoderSpec
from inference.engine.projections import GROUPS, Projection, projections

CONFIG = "adapter_config.json"
CONFIG_BYTES = 1 << 20
EXPRESSION_CHARACTERS = 4096
REMEMBERED = 64
MATCHING_SECONDS = 5

# Read here
READ = (
    *("alpha_pattern", "base_model_name_or_path", "exclude_modules", "layers_pattern", "layers_to_transform"),
    *("lora_alpha", "r", "rank_pattern", "target_modules", "use_rslora"),
)
# Checked apart, or without a say in the maths of an adapter that is trained
HARMLESS = (
    *("auto_mapping", "corda_config", "eva_config", "inference_mode", "init_lora_weights", "loftq_config"),
    *("lora_dropout", "lora_ga_config", "megatron_config", "megatron_core", "peft_type", "peft_version"),
    *("revision", "runtime_config", "task_type"),
)
# Initialisations that leave the base weights as they are
PLAIN_INITIALISATIONS = (True, False, "gaussian", "eva", "orthogonal")

PLAIN_NAME = re.compile(r"[\w.-]+")
MATCH = """
import json, re, sys
expressions, names = json.load(sys.stdin)
json.dump([[name for name in names if re.fullmatch(text, name)] for text in expressions], sys.stdout)
"""

Place = tuple[int, str]


@dataclass(frozen=True, slots=True)
class ModuleOptions:
    """One adapted module: its layer's name, its rank, and what B A is multiplied by."""

    projection: Projection
    rank: int
    scaling: float


@dataclass(frozen=True, eq=False)
class AdapterOptions:
    """modules: by layer and projection name."""

    base_model: str
    alpha: float
    modules: Mapping[Place, ModuleOptions]

    @property
    def rank(self) -> int:
        """The highest."""
        return max(module.rank for module in self.modules.values())

    @property
    def names(self) -> tuple[str, ...]:
        """Of the projections that are adapted somewhere."""
        return tuple(sorted({name for _, name in self.modules}))


def read_options(path: Path, spec: DecoderSpec, max_rank: int) -> AdapterOptions:
    """Read and check the folder's `adapter_config.json`.

    Raises:
        AdapterIncompatible: naming the option at fault.
    """
    return options_in(read_text(path / CONFIG), spec, max_rank)


@lru_cache(REMEMBERED)  # adapters that were made alike have the same text
def options_in(text: str, spec: DecoderSpec, max_rank: int) -> AdapterOptions:
    options = parsed(text)
    check_kinds(options)
    refuse_what_is_not_served(options)
    places = {
        module_key(layer, projection.name): (layer, projection)
        for group in GROUPS
        for projection in projections(group, spec)
        for layer in range(spec.layers)
    }
    targets = targeted(options, list(places), served_names(spec))
    ranks = by_module(options, "rank_pattern", targets)
    alphas = by_module(options, "alpha_pattern", targets)
    modules = {}
    for key in targets:
        layer, projection = places[key]
        rank, alpha = ranks.get(key, options["r"]), alphas.get(key, options["lora_alpha"])
        if rank > max_rank:
            raise AdapterIncompatible("r", f"the rank of {key} is {rank}; this server takes at most {max_rank}.")
        scaling = alpha / math.sqrt(rank) if options.get("use_rslora") else alpha / rank
        modules[layer, projection.name] = ModuleOptions(projection, rank, scaling)
    return AdapterOptions(options.get("base_model_name_or_path") or "", float(options["lora_alpha"]), modules)


def module_key(layer: int, name: str) -> str:
    """The module's name inside the base model, which PEFT matches its patterns against."""
    block = "mlp" if name in ("gate_proj", "up_proj", "down_proj") else "self_attn"
    return f"model.layers.{layer}.{block}.{name}"


def served_names(spec: DecoderSpec) -> list[str]:
    return [projection.name for group in GROUPS for projection in projections(group, spec)]


def read_text(file: Path) -> str:
    try:
        if not file.is_file():
            raise AdapterIncompatible(CONFIG, "the file is missing.")
        if file.stat().st_size > CONFIG_BYTES:
            raise AdapterIncompatible(CONFIG, f"the file must be at most {CONFIG_BYTES} bytes.")
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise unreadable(error) from error


def parsed(text: str) -> dict[str, Any]:
    try:
        options = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise unreadable(error) from error
    if not isinstance(options, dict):
        raise AdapterIncompatible(CONFIG, "the file must hold a JSON object.")
    return options


def unreadable(error: Exception) -> AdapterIncompatible:
    return AdapterIncompatible(CONFIG, f"the file cannot be read as JSON ({type(error).__name__}).")


def check_kinds(options: dict[str, Any]) -> None:
    """Refuse values of the wrong kind in the options that are read."""

    def require(name: str, holds: bool, wanted: str) -> None:
        if not holds:
            raise AdapterIncompatible(name, f"it must be {wanted}.")

    def get(name: str) -> Any:
        return options.get(name)

    require("r", is_whole(get("r")) and get("r") >= 1, "a whole number of at least 1")
    require("lora_alpha", is_number(get("lora_alpha")), "a finite number")
    for name, is_value in (("rank_pattern", is_whole), ("alpha_pattern", is_number)):
        pattern = get(name) or {}
        holds = isinstance(pattern, dict) and all(is_value(value) and value > 0 for value in pattern.values())
        require(name, holds, "an object of module names and positive numbers")
        for text in pattern:
            check_expression(name, text)
    require("use_rslora", isinstance(get("use_rslora") or False, bool), "true or false")
    require("base_model_name_or_path", isinstance(get("base_model_name_or_path") or "", str), "a string")
    for name in ("target_modules", "exclude_modules"):
        value = get(name) or []
        require(name, isinstance(value, str) or is_list(value, str), "a list of module names or an expression")
        if isinstance(value, str):
            check_expression(name, value)
    layers = get("layers_to_transform")
    require("layers_to_transform", layers is None or is_whole(layers) or is_list(layers, int), "a list of layers")
    pattern = get("layers_pattern") or []
    names = [pattern] if isinstance(pattern, str) else pattern
    holds = is_list(names, str) and all(PLAIN_NAME.fullmatch(name) for name in names)
    require("layers_pattern", holds, "a name or a list of names")


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31


def is_number(value: Any) -> bool:
    return is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def is_list(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(type(item) is kind for item in value)


def check_expression(option: str, text: str) -> None:
    try:
        if len(text) > EXPRESSION_CHARACTERS:
            raise AdapterIncompatible(option, f"an expression may have {EXPRESSION_CHARACTERS} characters.")
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise AdapterIncompatible(option, f"{text[:80]!r} is not a regular expression.") from error


def refuse_what_is_not_served(options: dict[str, Any]) -> None:
    """Refuse what is not LoRA, and every option, known or not, that changes the maths in a way not served."""
    if options.get("peft_type") != "LORA":
        raise AdapterIncompatible("peft_type", f"it is {str(options.get('peft_type'))[:80]!r}; only LORA is served.")
    initialisation = options.get("init_lora_weights", True)
    if initialisation not in PLAIN_INITIALISATIONS:
        raise AdapterIncompatible(
            "init_lora_weights",
            f"{str(initialisation)[:80]!r} changes the base weights; save the adapter as a plain LoRA first.",
        )
    for name, value in options.items():
        if name in READ or name in HARMLESS or value == defaults().get(name):
            continue
        if value or defaults().get(name):
            raise AdapterIncompatible(name[:80], f"{str(value)[:80]!r} is not served; leave the option out.")


@cache
def defaults() -> dict[str, Any]:
    return LoraConfig().to_dict()


def targeted(options: dict[str, Any], names: Sequence[str], served: Sequence[str]) -> list[str]:
    """Those of the served modules' names that PEFT would adapt."""
    config = peft_config(options)
    wanted, excluded = config.target_modules, config.exclude_modules
    unserved = ("lm_head", "model.embed_tokens")
    if isinstance(excluded, str):
        config.exclude_modules = set(full_matches("exclude_modules", [excluded], names)[excluded])
    if isinstance(wanted, str) and wanted.lower() == "all-linear":
        config.target_modules = set(names)
    elif isinstance(wanted, str):
        config.target_modules = set(full_matches("target_modules", [wanted], [*names, *unserved])[wanted])
    if not config.target_modules:
        raise AdapterIncompatible("target_modules", f"it names no served module; served are {', '.join(served)}.")
    for name in sorted(config.target_modules):
        if name.rpartition(".")[2] not in served:
            raise AdapterIncompatible("target_modules", f"{name[:80]!r} is not served; served are {', '.join(served)}.")
    found = [name for name in names if check_target_module_exists(config, name)]
    if not found:
        raise AdapterIncompatible("target_modules", "with the other options it leaves no module to adapt.")
    return found


def peft_config(options: dict[str, Any]) -> LoraConfig:
    try:
        return LoraConfig(**{name: options[name] for name in READ if name in options})
    except (TypeError, ValueError) as error:
        raise AdapterIncompatible(CONFIG, f"PEFT refuses the options: {str(error)[:200]}") from error


def by_module(options: dict[str, Any], option: str, names: Sequence[str]) -> dict[str, Any]:
    """The pattern's value for each module that one of its expressions matches; as in PEFT, the first one that does."""
    pattern = options.get(option) or {}
    matched = full_matches(option, [rf"(.*\.)?({text})" for text in pattern], names)
    values: dict[str, Any] = {}
    for value, hits in zip(pattern.values(), matched.values(), strict=True):
        for name in hits:
            values.setdefault(name, value)
    return values


def full_matches(option: str, expressions: Sequence[str], names: Collection[str]) -> dict[str, list[str]]:
    """The names that each expression matches as a whole.

    Expressions come from strangers, and a short one can keep Python's matcher busy for ever, with the interpreter's
    lock held. So they are matched in a process of their own, which can be ended.
    """
    if not expressions:
        return {}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", MATCH],
            input=json.dumps([expressions, list(names)]),
            capture_output=True,
            check=True,
            text=True,
            timeout=MATCHING_SECONDS,
        )
    except subprocess.SubprocessError as error:
        raise AdapterIncompatible(option, "its expressions cannot be matched in time.") from error
    return dict(zip(expressions, json.loads(done.stdout), strict=True))
