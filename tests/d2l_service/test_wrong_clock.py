"""A short run of `benchmarks/d2l_expiry.py` on servers whose own clock is an hour off: adapters end in time."""

from pathlib import Path

import pytest

from benchmarks.d2l_expiry import HOUR_S, Mode, measure
from benchmarks.shifted_clock import COMPILER

ADAPTERS = 20


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler to shift a clock with")
@pytest.mark.parametrize("ahead_s", [HOUR_S, -HOUR_S])
def test_an_adapter_ends_by_the_databases_clock(smollm_path: Path, ahead_s: int) -> None:
    found = measure(smollm_path, Mode("a wrong clock", ahead_s=ahead_s), ADAPTERS)
    assert found.ahead_s == pytest.approx(ahead_s, abs=60)
    assert found.late == 0
    assert found.answered > ADAPTERS
    assert found.refused.keys() == {"adapter_expired"}
    assert found.slots_held == 0
