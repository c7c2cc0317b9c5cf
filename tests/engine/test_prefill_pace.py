import pytest

from inference.engine.prefill_pace import LEAST, PrefillPace


@pytest.fixture
def pace() -> PrefillPace:
    """On a machine where a step takes 10 ms, 40 ms with 16 streams, and each prompt token 0.1 ms."""
    pace = PrefillPace(256)
    pace.observe(0.010, 1, 0)
    pace.observe(0.040, 16, 0)
    pace.observe(0.010 + 0.0100, 0, 100)
    return pace


def test_a_prompt_alone_goes_at_full_speed(pace: PrefillPace) -> None:
    assert pace.budget(0, 1) == 256
    assert PrefillPace(64).budget(0, 1) == 64


def test_beside_streams_a_step_stays_well_within_two_usual_ones(pace: PrefillPace) -> None:
    assert pace.budget(1, 1) == pytest.approx(75, abs=1)
    assert pace.budget(16, 1) == 256


def test_a_slow_prompt_still_gets_on(pace: PrefillPace) -> None:
    for _ in range(100):
        pace.observe(5, 1, 20)
    assert pace.budget(1, 1) == LEAST


def test_a_burst_is_let_in_at_once_where_it_outweighs_the_streams(pace: PrefillPace) -> None:
    assert pace.budget(1, 15) == 256
    assert pace.budget(1, 2) == 256


def test_beside_many_streams_a_few_who_begin_wait_as_one_does() -> None:
    pace = PrefillPace(4096)
    pace.observe(0.040, 16, 0)
    pace.observe(0.040 + 0.0100, 16, 100)
    assert pace.budget(16, 5) == pace.budget(16, 1) == pytest.approx(300, abs=1)
    assert pace.budget(16, 9) == pytest.approx(1000, abs=1)


def test_a_step_with_streams_as_never_before_is_between_those_that_were(pace: PrefillPace) -> None:
    """With that of fewer streams each token beside them would seem dear, and a burst trickle in."""
    assert pace.usual_s(1) == pytest.approx(0.010)
    assert pace.usual_s(11) == pytest.approx(0.030)
    assert pace.usual_s(40) == pytest.approx(0.040)


def test_it_follows_the_machine(pace: PrefillPace) -> None:
    for _ in range(100):
        pace.observe(0.005, 1, 0)
    assert pace.budget(1, 1) == pytest.approx(37, abs=1)


def test_a_few_prompt_tokens_say_nothing_about_their_cost(pace: PrefillPace) -> None:
    before = pace.budget(1, 1)
    pace.observe(0.011, 1, 2)
    assert pace.budget(1, 1) == before
