import json
from pathlib import Path
from typing import Any

import pytest

from inference.engine.errors import InvalidSampling
from inference.engine.sampling import SamplingParams, recommended_sampling


def test_defaults_are_those_of_the_openai_reference() -> None:
    params = SamplingParams()
    assert (params.temperature, params.top_p, params.top_k, params.max_tokens) == (1, 1, 0, None)
    assert (params.frequency_penalty, params.presence_penalty, params.repetition_penalty) == (0, 0, 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", float("nan")),
        ("top_p", 0),
        ("top_p", 1.01),
        ("top_k", -2),
        ("max_tokens", 0),
        ("min_tokens", -1),
        ("stop", ("",)),
        ("stop", ("x" * 257,)),
        ("stop", ("a", "b", "c", "d", "e")),
        ("stop", ("word",) * 10_000),
        ("seed", 2**63),
        ("frequency_penalty", 2.5),
        ("presence_penalty", -2.5),
        ("repetition_penalty", 0),
        ("repetition_penalty", float("inf")),
        ("top_logprobs", 21),
        ("top_logprobs", 1),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidSampling) as refusal:
        SamplingParams(**{field: value})
    assert refusal.value.field == field
    assert str(refusal.value).startswith(field)


def test_min_tokens_beyond_max_tokens_is_refused() -> None:
    with pytest.raises(InvalidSampling, match="max_tokens"):
        SamplingParams(min_tokens=5, max_tokens=4)


@pytest.mark.parametrize("temperature", [0, 1e-30, 9e-6])
def test_a_temperature_too_small_to_divide_by_is_greedy(temperature: float) -> None:
    assert SamplingParams(temperature=temperature).greedy


def test_the_models_own_recommendation_applies(tmp_path: Path) -> None:
    settings = {"temperature": 0.6, "top_k": 20, "top_p": 0.95, "do_sample": True}
    (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    assert recommended_sampling(tmp_path) == SamplingParams(temperature=0.6, top_k=20, top_p=0.95)


def test_a_recommendation_out_of_range_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"temperature": 7, "top_k": 20, "top_p": None}))
    assert recommended_sampling(tmp_path) == SamplingParams(top_k=20)


def test_a_model_without_recommendation_gets_the_defaults(tmp_path: Path) -> None:
    assert recommended_sampling(tmp_path) == SamplingParams()
