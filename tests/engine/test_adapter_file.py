"""What is taken as an adapter, and the field that each refusal names."""

import json
import os
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from inference.engine import adapter_options
from inference.engine.adapter_file import AdapterWeights, read_adapter
from inference.engine.adapter_options import module_key
from inference.engine.errors import AdapterIncompatible
from inference.engine.families import DecoderSpec, describe
from inference.engine.projections import Group, chunk_width, projections
from tests.engine.tiny_models import CONFIGS, make_adapter, make_model, reference

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model("llama", tmp_path_factory.mktemp("model"))


@pytest.fixture
def adapter(model: Path, tmp_path: Path) -> Path:
    return make_adapter(model, tmp_path / "adapter", target_modules=["q_proj", "down_proj"], lora_alpha=16)


@pytest.fixture
def spec(model: Path) -> DecoderSpec:
    return describe(AutoConfig.from_pretrained(model))


def edit_config(adapter: Path, **options: Any) -> None:
    file = adapter / CONFIG
    file.write_text(json.dumps(json.loads(file.read_text()) | options))


def edit_tensors(adapter: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(adapter / WEIGHTS)
    change(tensors)
    save_file(tensors, adapter / WEIGHTS)


def test_it_works(adapter: Path, spec: DecoderSpec) -> None:
    weights = read_adapter(adapter, spec, 64)
    assert weights.info.rank == 8
    assert weights.info.alpha == 16
    assert weights.info.target_modules == ("down_proj", "q_proj")
    assert weights.info.size_bytes == sum((adapter / name).stat().st_size for name in (CONFIG, WEIGHTS))
    assert set(weights.layout.groups) == {"qkv", "down"}
    assert weights.layout.groups["qkv"].layers == range(spec.layers)


def test_layers_beyond_those_adapted_take_no_room(model: Path, spec: DecoderSpec, tmp_path: Path) -> None:
    layers = {"target_modules": ["q_proj"], "layers_to_transform": [1]}
    weights = read_adapter(make_adapter(model, tmp_path / "adapter", **layers), spec, 64)
    assert weights.layout.groups["qkv"].layers == range(1, 2)


def written(weights: AdapterWeights, spec: DecoderSpec) -> dict[Group, tuple[torch.Tensor, torch.Tensor]]:
    """What a slot holds of it that held something else before."""
    slots = {}
    for group, of_group in weights.layout.groups.items():
        members, width, rank = projections(group, spec), chunk_width(group, spec), weights.layout.rank_class
        a = torch.full((len(of_group.layers), len(members) * rank, members[0].inputs), float("nan"))
        chunks = sum(member.outputs for member in members) // width
        b = torch.full((len(of_group.layers), chunks, rank, width), float("nan"))
        weights.write(group, a, b)
        slots[group] = a, b
    return slots


def products(adapter: Path, spec: DecoderSpec) -> dict[str, torch.Tensor]:
    """B A of each module, scaled, from a slot."""
    weights = read_adapter(adapter, spec, 64)
    found = {}
    for group, (a, b) in written(weights, spec).items():
        members, rank = projections(group, spec), weights.layout.rank_class
        for place, layer in enumerate(weights.layout.groups[group].layers):
            of_members = a[place].split(rank)
            outputs = b[place].mT.flatten(0, 1).split([member.outputs for member in members])
            for member, of_a, of_b in zip(members, of_members, outputs, strict=True):
                found[module_key(layer, member.name)] = of_b @ of_a
    return found


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": "all-linear"},
        {"target_modules": ["q_proj", "v_proj", "up_proj"]},
        {"target_modules": ["k_proj", "down_proj"], "layers_to_transform": [1, 2, 3, 11]},
        {"target_modules": "all-linear", "rank_pattern": {"q_proj": 3, r"layers\.1\.mlp\.down_proj": 16}},
        {"target_modules": "all-linear", "alpha_pattern": {r"layers\.2\..*": 3}, "use_rslora": True},
    ],
)
def test_a_slot_gets_each_factor_where_it_belongs(tmp_path: Path, options: dict[str, Any]) -> None:
    """Twelve layers, which a file has in the order of their names: 0, 1, 10, 11, 2."""
    config, model = deepcopy(CONFIGS["llama"]), tmp_path / "model"
    config.num_hidden_layers = 12
    AutoModelForCausalLM.from_config(config).save_pretrained(model)
    adapter = make_adapter(model, tmp_path / "adapter", **options)
    expected = {
        name.removeprefix("base_model.model."): module.get_delta_weight("default").detach()
        for name, module in reference(model, adapter).named_modules()
        if isinstance(module, LoraLayer)
    }
    for key, product in products(adapter, describe(config)).items():
        torch.testing.assert_close(product, expected.pop(key, torch.zeros_like(product)))
    assert not expected


def test_files_that_are_laid_out_alike_keep_their_own_numbers(adapter: Path, spec: DecoderSpec) -> None:
    before = products(adapter, spec)
    edit_tensors(adapter, lambda tensors: [tensor.mul_(2) for tensor in tensors.values()])
    for key, product in products(adapter, spec).items():
        torch.testing.assert_close(product, 4 * before[key])
    edit_config(adapter, lora_alpha=32)
    for key, product in products(adapter, spec).items():
        torch.testing.assert_close(product, 8 * before[key])


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"peft_type": "LOHA"}, "peft_type"),
        ({"peft_type": None}, "peft_type"),
        ({"r": 0}, "r"),
        ({"r": -4}, "r"),
        ({"r": "8"}, "r"),
        ({"r": 8.0}, "r"),
        ({"r": True}, "r"),
        ({"r": 10**30}, "r"),
        ({"r": 2}, WEIGHTS),
        ({"lora_alpha": "x"}, "lora_alpha"),
        ({"lora_alpha": None}, "lora_alpha"),
        ({"lora_alpha": float("nan")}, "lora_alpha"),
        ({"lora_alpha": 10**400}, "lora_alpha"),
        ({"lora_alpha": 1e308}, WEIGHTS),
        ({"rank_pattern": {"q_proj": 0}}, "rank_pattern"),
        ({"rank_pattern": {"q_proj": 2**62}}, "rank_pattern"),
        ({"rank_pattern": {"q_proj": 1000}}, "r"),
        ({"rank_pattern": {"q_proj": 4}}, WEIGHTS),
        ({"rank_pattern": ["q_proj"]}, "rank_pattern"),
        ({"rank_pattern": {"x" * 5000: 4}}, "rank_pattern"),
        ({"alpha_pattern": {"(": 4}}, "alpha_pattern"),
        ({"alpha_pattern": {"(?P<x>": 4}}, "alpha_pattern"),
        ({"alpha_pattern": {"q_proj": "4"}}, "alpha_pattern"),
        ({"use_rslora": "yes"}, "use_rslora"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"bias": "lora_only"}, "bias"),
        ({"lora_bias": True}, "lora_bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"use_qalora": True}, "use_qalora"),
        ({"target_parameters": ["x"]}, "target_parameters"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"init_lora_weights": "olora"}, "init_lora_weights"),
        ({"init_lora_weights": "corda"}, "init_lora_weights"),
        ({"init_lora_weights": "loftq"}, "init_lora_weights"),
        ({"init_lora_weights": [1]}, "init_lora_weights"),
        ({"an_option_of_tomorrow": 3}, "an_option_of_tomorrow"),
        ({"base_model_name_or_path": {"a": 1}}, "base_model_name_or_path"),
        ({"layers_to_transform": "0"}, "layers_to_transform"),
        ({"layers_to_transform": [0.5]}, "layers_to_transform"),
        ({"layers_to_transform": [99]}, "target_modules"),
        ({"layers_to_transform": [0], "layers_pattern": "(a+)+"}, "layers_pattern"),
        ({"layers_pattern": "layers"}, CONFIG),
        ({"exclude_modules": 5}, "exclude_modules"),
        ({"exclude_modules": "("}, "exclude_modules"),
        ({"exclude_modules": ".*"}, "target_modules"),
        ({"target_modules": 5}, "target_modules"),
        ({"target_modules": {"q_proj": 1}}, "target_modules"),
        ({"target_modules": [["q_proj"]]}, "target_modules"),
        ({"target_modules": [5]}, "target_modules"),
        ({"target_modules": [""]}, "target_modules"),
        ({"target_modules": "model"}, "target_modules"),
        ({"target_modules": None}, "target_modules"),
        ({"target_modules": []}, "target_modules"),
        ({"target_modules": ["lm_head"]}, "target_modules"),
        ({"target_modules": ["q_proj", "down_proj", "embed_tokens"]}, "target_modules"),
        ({"target_modules": ".*"}, "target_modules"),
        ({"target_modules": "("}, "target_modules"),
        ({"target_modules": ["q_proj"]}, "target_modules"),
        ({"target_modules": ["q_proj", "down_proj", "v_proj"]}, WEIGHTS),
    ],
)
def test_an_option_that_is_not_served_is_named(
    adapter: Path, spec: DecoderSpec, options: dict[str, Any], field: str
) -> None:
    edit_config(adapter, **options)
    with pytest.raises(AdapterIncompatible) as refusal:
        read_adapter(adapter, spec, 64)
    assert refusal.value.field == field


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": r"(?:.+)+!"},
        {"exclude_modules": r"(?:.+)+!"},
        {"rank_pattern": {r"(?:.+)+!": 4}},
    ],
)
def test_an_expression_that_would_match_for_ever_is_given_up(
    adapter: Path, spec: DecoderSpec, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter_options, "MATCHING_SECONDS", 0.5)
    edit_config(adapter, **options)
    with pytest.raises(AdapterIncompatible, match="in time") as refusal:
        read_adapter(adapter, spec, 64)
    assert refusal.value.field in options


def test_options_that_say_nothing_are_taken(adapter: Path, spec: DecoderSpec) -> None:
    edit_config(adapter, an_option_of_tomorrow=None, another=[], task_type="CAUSAL_LM", lora_dropout=0.1)
    assert read_adapter(adapter, spec, 64).info.rank == 8


def test_a_rank_over_the_limit_is_refused(adapter: Path, spec: DecoderSpec) -> None:
    with pytest.raises(AdapterIncompatible, match="at most 4") as refusal:
        read_adapter(adapter, spec, 4)
    assert refusal.value.field == "r"


KEY = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda tensors: tensors.pop(KEY), WEIGHTS),
        (lambda tensors: tensors[KEY].fill_(float("nan")), WEIGHTS),
        (lambda tensors: tensors[KEY][0, 0].fill_(float("inf")), WEIGHTS),
        (lambda tensors: tensors.update({KEY: torch.zeros(8, 3)}), WEIGHTS),
        (lambda tensors: tensors.update({KEY: torch.zeros(8, 64, dtype=torch.int32)}), WEIGHTS),
        (lambda tensors: tensors.update({KEY.replace("layers.1", "layers.7"): tensors[KEY].clone()}), "target_modules"),
        (lambda tensors: tensors.update({KEY.replace("q_proj", "v_proj"): tensors[KEY].clone()}), "target_modules"),
        (lambda tensors: tensors.update({"prefix." + KEY: tensors[KEY].clone()}), "target_modules"),
        (lambda tensors: tensors.update({"something.else": torch.zeros(1)}), "target_modules"),
    ],
)
def test_a_bad_tensor_is_refused(adapter: Path, spec: DecoderSpec, change: Callable, field: str) -> None:
    edit_tensors(adapter, change)
    with pytest.raises(AdapterIncompatible) as refusal:
        read_adapter(adapter, spec, 64)
    assert refusal.value.field == field


def test_each_tensor_may_have_a_type_of_its_own(adapter: Path, spec: DecoderSpec) -> None:
    types = {KEY: torch.float16, KEY.replace("lora_A", "lora_B"): torch.bfloat16}
    edit_tensors(adapter, lambda tensors: tensors.update({key: tensors[key].to(types[key]) for key in types}))
    stored = products(adapter, spec)
    edit_tensors(adapter, lambda tensors: tensors.update({key: tensors[key].float() for key in types}))
    for key, product in products(adapter, spec).items():
        assert torch.equal(stored[key], product)


def test_a_file_that_ends_too_soon_is_refused(adapter: Path, spec: DecoderSpec) -> None:
    content = (adapter / WEIGHTS).read_bytes()
    (adapter / WEIGHTS).write_bytes(content[:-1])
    with pytest.raises(AdapterIncompatible, match="not valid safetensors"):
        read_adapter(adapter, spec, 64)


def test_what_will_be_refused_is_not_read(adapter: Path, spec: DecoderSpec) -> None:
    header = json.dumps({"something.else": {"dtype": "F32", "shape": [1 << 38], "data_offsets": [0, 1 << 40]}})
    (adapter / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header.encode())
    os.truncate(adapter / WEIGHTS, 8 + len(header) + (1 << 40))  # a hole of a terabyte, which takes no disk
    with pytest.raises(AdapterIncompatible, match="is missing"):
        read_adapter(adapter, spec, 64)


def test_a_file_without_tensors_is_refused(adapter: Path, spec: DecoderSpec) -> None:
    edit_tensors(adapter, lambda tensors: tensors.clear())
    with pytest.raises(AdapterIncompatible, match="is missing"):
        read_adapter(adapter, spec, 64)


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\xff" * 100, (2**60).to_bytes(8, "little") + b"{}"])
def test_weights_that_cannot_be_read_are_refused(adapter: Path, spec: DecoderSpec, content: bytes) -> None:
    (adapter / WEIGHTS).write_bytes(content)
    with pytest.raises(AdapterIncompatible, match="safetensors"):
        read_adapter(adapter, spec, 64)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_configuration_that_cannot_be_read_is_refused(adapter: Path, spec: DecoderSpec, content: bytes) -> None:
    (adapter / CONFIG).write_bytes(content)
    with pytest.raises(AdapterIncompatible, match=CONFIG):
        read_adapter(adapter, spec, 64)


def test_a_pickle_is_not_read(adapter: Path, spec: DecoderSpec) -> None:
    (adapter / WEIGHTS).rename(adapter / "adapter_model.bin")
    with pytest.raises(AdapterIncompatible, match="never pickles"):
        read_adapter(adapter, spec, 64)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_missing_file_is_named(adapter: Path, spec: DecoderSpec, name: str) -> None:
    (adapter / name).unlink()
    with pytest.raises(AdapterIncompatible, match="missing") as refusal:
        read_adapter(adapter, spec, 64)
    assert refusal.value.field == name


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_only_plain_files_are_opened(adapter: Path, spec: DecoderSpec, name: str) -> None:
    (adapter / name).unlink()
    os.mkfifo(adapter / name)
    with pytest.raises(AdapterIncompatible, match="missing"):
        read_adapter(adapter, spec, 64)


def test_an_adapter_of_another_base_model_is_refused(adapter: Path) -> None:
    with pytest.raises(AdapterIncompatible, match="shape"):
        read_adapter(adapter, describe(CONFIGS["yarn"]), 64)
