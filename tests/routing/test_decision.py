"""The order of places, from facts alone."""

from dataclasses import replace

import pytest

from inference.decision import Asked, Place, decide
from workspace.errors import ApiError

ENGINE = Place("local", "local", "base")
PEER = Place("gpu-2", "peer", "base")
VLLM = Place("big", "vllm", "base")
OPENAI = Place("openai", "cloud", "base")


def asked(mode: str, *compute: Place, **fields: object) -> Asked:
    return Asked(mode=mode, model="base", compute=compute, **fields)  # type: ignore[arg-type]


def order(asked: Asked) -> list[str]:
    return [choice.place.name for choice in decide(asked).choices]


def refused(asked: Asked) -> tuple[int, str]:
    with pytest.raises(ApiError) as caught:
        decide(asked)
    return caught.value.status, caught.value.code


def test_it_works() -> None:
    assert order(asked("local", ENGINE)) == ["local"]


def test_local_is_the_engine_and_then_an_own_server_with_the_model() -> None:
    assert order(asked("local", ENGINE, PEER, VLLM)) == ["local", "gpu-2", "big"]
    assert order(asked("local", replace(ENGINE, model=None), replace(PEER, model=None), VLLM)) == ["big"]
    assert order(asked("local", replace(ENGINE, healthy=False), PEER, cloud=OPENAI)) == ["gpu-2"]


def test_cloud_is_the_provider_alone() -> None:
    assert order(asked("cloud", ENGINE, PEER, cloud=OPENAI)) == ["openai"]


def test_hybrid_is_local_first_and_then_the_cloud() -> None:
    assert order(asked("hybrid", ENGINE, PEER, cloud=OPENAI)) == ["local", "gpu-2", "openai"]
    away = replace(ENGINE, healthy=False)
    assert order(asked("hybrid", away, cloud=OPENAI)) == ["openai"]
    assert decide(asked("hybrid", away, cloud=OPENAI)).skipped == (("local", "unhealthy"),)
    assert order(asked("hybrid", replace(ENGINE, model=None), cloud=OPENAI)) == ["openai"]
    assert order(asked("hybrid", ENGINE)) == ["local"]


def test_a_preferred_peer_is_used_when_it_is_healthy() -> None:
    assert order(asked("local", ENGINE, VLLM, preferred=PEER)) == ["gpu-2"]
    assert order(asked("hybrid", ENGINE, preferred=PEER, cloud=OPENAI)) == ["gpu-2", "local", "openai"]


def test_a_preferred_peer_that_is_away_is_503_in_local_and_passed_over_in_hybrid() -> None:
    away = replace(PEER, healthy=False)
    assert refused(asked("local", ENGINE, preferred=away)) == (503, "peer_unreachable")
    assert order(asked("hybrid", ENGINE, preferred=away)) == ["local"]


def test_an_adapter_is_served_only_where_it_is_loaded() -> None:
    without = replace(ENGINE, holds_adapter=False)
    cloud = replace(OPENAI, holds_adapter=False)
    assert order(asked("local", without, PEER, adapter_id="mine")) == ["gpu-2"]
    nowhere = replace(PEER, holds_adapter=False)
    assert refused(asked("local", without, nowhere, adapter_id="mine")) == (409, "adapter_not_loaded")
    elsewhere = (409, "adapter_not_available_on_backend")
    assert refused(asked("local", ENGINE, preferred=nowhere, adapter_id="mine")) == elsewhere
    assert refused(asked("cloud", ENGINE, cloud=cloud, adapter_id="mine")) == elsewhere
    away = replace(PEER, healthy=False)
    assert refused(asked("hybrid", without, preferred=away, cloud=cloud, adapter_id="mine")) == elsewhere
    assert refused(asked("local", without, away, adapter_id="mine")) == (503, "peer_unreachable")


def test_what_nobody_serves_is_not_found_and_what_is_away_is_503() -> None:
    assert refused(asked("local", replace(ENGINE, model=None))) == (404, "model_not_found")
    assert refused(asked("local", replace(ENGINE, healthy=False))) == (503, "engine_not_ready")
    assert refused(asked("local", ENGINE, preferred=replace(PEER, model=None))) == (404, "model_not_found")
