from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from inference.engine.native.choice import NativeChoice
from inference.engine.native.kernels import kernels
from inference.engine.sampler import Choice, SamplingState, TokenCounts, TorchChoice, sample
from inference.engine.sampling import SamplingParams

VOCABULARY = 300
EOS = 2
LIBRARY = kernels(torch.float32)
CHOICES: dict[str, Choice] = {"torch": TorchChoice()}
if LIBRARY:
    CHOICES["compiled"] = NativeChoice(LIBRARY)


@pytest.fixture(scope="module", params=CHOICES)
def choice(request: pytest.FixtureRequest) -> Choice:
    return CHOICES[request.param]


def state(prompt: tuple[int, ...] = (1,), **params: Any) -> SamplingState:
    return SamplingState(SamplingParams(**params), prompt, [EOS])


def random_logits(rows: int, seed: int = 0, scale: float = 3, vocabulary: int = VOCABULARY) -> Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * scale


def tokens(choice: Choice, logits: Tensor, states: list[SamplingState]) -> list[int | None]:
    return [sampled.token for sampled in sample(logits.clone(), states, choice)]


def frequencies(choice: Choice, logits: Tensor, params: dict[str, Any], draws: int = 4000) -> Tensor:
    """Relative frequency [vocabulary] of each token over many draws from one row."""
    states = [state(**params, seed=seed) for seed in range(draws)]
    counts = Counter(tokens(choice, logits.expand(draws, -1), states))
    return torch.tensor([counts[token] / draws for token in range(logits.shape[-1])])


def test_greedy_rows_take_the_exact_argmax_in_any_batch(choice: Choice) -> None:
    logits = random_logits(4)
    expected = logits.argmax(-1).tolist()
    assert tokens(choice, logits, [state(temperature=0) for _ in range(4)]) == expected
    mixed = [state(temperature=0), state(seed=1), state(temperature=0, logprobs=True), state(top_p=0.5)]
    chosen = tokens(choice, logits, mixed)
    assert [chosen[0], chosen[2]] == [expected[0], expected[2]]


@pytest.mark.parametrize("vocabulary", [1, 7, 300, 49_152])
def test_the_likeliest_is_the_first_of_several_and_a_finite_one(choice: Choice, vocabulary: int) -> None:
    logits = random_logits(6, vocabulary=vocabulary)
    logits[1] = 5
    logits[2, vocabulary // 2 :] = 90
    logits[3, -1] = torch.nan
    logits[4, 0] = torch.inf
    logits[5] = -torch.inf
    found, finite = choice.likeliest(logits)
    assert found[:3] == [int(logits[0].argmax()), 0, vocabulary // 2]
    assert finite == [True, True, True, False, False, False]


def test_draws_follow_the_distribution(choice: Choice) -> None:
    logits = random_logits(1, scale=1, vocabulary=8)
    found = frequencies(choice, logits, {"temperature": 0.8})
    assert torch.allclose(found, (logits[0] / 0.8).softmax(-1), atol=0.03)


def test_top_k_keeps_only_the_k_likeliest(choice: Choice) -> None:
    logits = random_logits(1, scale=1, vocabulary=8)
    kept = logits[0].topk(3).indices
    expected = torch.zeros(8).scatter(0, kept, logits[0][kept].softmax(-1))
    assert torch.allclose(frequencies(choice, logits, {"top_k": 3}), expected, atol=0.03)


def test_top_p_keeps_the_smallest_nucleus_that_reaches_it(choice: Choice) -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    found = frequencies(choice, logits, {"top_p": 0.7})
    assert torch.allclose(found, torch.tensor([0.625, 0.375, 0, 0]), atol=0.03)


def test_top_p_counts_within_top_k(choice: Choice) -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    # of the two likeliest the first has 0.625, so that 0.6 is reached by it alone
    assert frequencies(choice, logits, {"top_k": 2, "top_p": 0.6}, draws=50)[0] == 1


def test_a_nucleus_larger_than_the_first_look_is_drawn_from_in_full(choice: Choice) -> None:
    logits = torch.zeros(1, VOCABULARY)
    found = frequencies(choice, logits, {"top_p": 0.9}, draws=3000)
    assert 260 <= int((found > 0).sum()) <= 271


def test_one_row_of_a_flat_distribution_does_not_change_its_neighbours(choice: Choice) -> None:
    peaked, flat = random_logits(1, scale=8), torch.zeros(1, VOCABULARY)
    alone = tokens(choice, peaked, [state(top_p=0.9, seed=5)])
    beside = tokens(choice, torch.cat([flat, peaked]), [state(top_p=0.9, seed=9), state(top_p=0.9, seed=5)])
    assert beside[1:] == alone


@settings(max_examples=40, deadline=None)
@given(
    others=st.lists(
        st.fixed_dictionaries(
            {
                "temperature": st.sampled_from([0.0, 0.5, 1.0, 2.0]),
                "top_p": st.sampled_from([0.2, 0.9, 1.0]),
                "top_k": st.sampled_from([0, 1, 5, 200]),
                "frequency_penalty": st.sampled_from([0.0, 1.0]),
                "logprobs": st.booleans(),
            }
        ),
        max_size=5,
    ),
    mine=st.fixed_dictionaries(
        {
            "temperature": st.sampled_from([0.3, 1.0, 1.7]),
            "top_p": st.sampled_from([0.5, 0.95, 1.0]),
            "top_k": st.sampled_from([0, 3, 150]),
            "presence_penalty": st.sampled_from([0.0, 1.5]),
            "repetition_penalty": st.sampled_from([1.0, 1.3]),
        }
    ),
    seed=st.integers(0, 2**40),
)
def test_a_seeded_row_draws_the_same_whatever_is_beside_it(
    choice: Choice, others: list[dict[str, Any]], mine: dict[str, Any], seed: int
) -> None:
    alone, mixed = state(seed=seed, **mine), state(seed=seed, **mine)
    neighbours = [state(**params) for params in others]
    for step in range(4):
        row = random_logits(1, seed=step)
        batch = torch.cat([row, random_logits(len(neighbours), seed=100 + step)])
        assert tokens(choice, row, [alone])[0] == tokens(choice, batch, [mixed, *neighbours])[0]


def test_different_seeds_draw_differently(choice: Choice) -> None:
    logits = torch.zeros(20, VOCABULARY)
    assert len(set(tokens(choice, logits, [state(seed=seed) for seed in range(20)]))) > 10


def test_penalties_lower_what_occurred(choice: Choice) -> None:
    logits = torch.tensor([[2.0, 1.5, -1.0, 1.9]])
    repeated = state(prompt=(0, 2), temperature=0, repetition_penalty=2.0)
    assert tokens(choice, logits, [repeated]) == [3]  # 0 is halved to 1, of the prompt too
    assert tokens(choice, logits, [repeated]) == [1]
    frequent = state(prompt=(0,), temperature=0, frequency_penalty=0.3)
    assert [tokens(choice, logits, [frequent])[0] for _ in range(5)] == [0, 3, 0, 3, 1]  # the prompt does not count
    present = state(temperature=0, presence_penalty=2.0)
    assert [tokens(choice, logits, [present])[0] for _ in range(4)] == [0, 3, 1, 0]


def test_the_smallest_repetition_penalty_overflows_nothing(choice: Choice) -> None:
    logits = torch.tensor([[5.0, 4.0, -3.0]])
    for temperature in (0, 1e-5, 1):
        assert tokens(choice, logits, [state(prompt=(1,), temperature=temperature, repetition_penalty=5e-324)]) == [1]


def test_penalties_of_a_batch_equal_those_alone(choice: Choice) -> None:
    rows = [
        {"repetition_penalty": 1.7, "prompt": (5, 6, 7, 5)},
        {"frequency_penalty": -1.5, "presence_penalty": 0.5, "prompt": (9,)},
        {"prompt": (1,)},
    ]
    alone = [state(temperature=0, **row) for row in rows]
    together = [state(temperature=0, **row) for row in rows]
    for step in range(30):
        logits = random_logits(3, seed=step, scale=0.3, vocabulary=12)
        assert tokens(choice, logits, together) == [
            tokens(choice, logits[i : i + 1], [s])[0] for i, s in enumerate(alone)
        ]


def test_counts_grow_with_the_answer() -> None:
    counts = TokenCounts([4, 4, 8])
    for token in [8, *range(100, 200), 8]:
        counts.add(token)
    found = dict(zip(counts.tokens[: counts.size].tolist(), counts.answered[: counts.size].tolist(), strict=True))
    assert found == {4: 0, 8: 2} | dict.fromkeys(range(100, 200), 1)


def test_the_end_is_withheld_until_min_tokens(choice: Choice) -> None:
    logits = torch.zeros(1, 5)
    logits[0, EOS], logits[0, 4] = 9, 1
    waiting = state(temperature=0, min_tokens=2)
    assert [tokens(choice, logits, [waiting])[0] for _ in range(3)] == [4, 4, EOS]


def test_an_end_that_the_model_has_no_logit_for_needs_no_withholding(choice: Choice) -> None:
    waiting = SamplingState(SamplingParams(temperature=0, min_tokens=5), [1], [EOS, 7])
    assert tokens(choice, torch.tensor([[0.0, 1.0, 9.0]]), [waiting]) == [1]


def test_logprobs_are_of_the_models_own_distribution(choice: Choice) -> None:
    logits = random_logits(2)
    raw = logits.log_softmax(-1)
    rows = [
        state(
            temperature=0.5,
            top_k=3,
            seed=1,
            repetition_penalty=3.0,
            prompt=(4,),
            logprobs=True,
            top_logprobs=4,
        ),
        state(temperature=0, logprobs=True),
    ]
    first, second = sample(logits.clone(), rows, choice)
    assert first.logprob is not None
    assert second.logprob is not None
    assert first.logprob.token == first.token
    assert first.logprob.logprob == pytest.approx(float(raw[0, first.token]), abs=1e-5)
    assert [token for token, _ in first.logprob.top] == raw[0].topk(4).indices.tolist()
    assert [value for _, value in first.logprob.top] == pytest.approx(raw[0].topk(4).values.tolist(), abs=1e-5)
    assert second.logprob.top == ()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("params", [{"temperature": 0}, {"seed": 1}])
def test_a_row_that_is_not_finite_fails_alone(choice: Choice, bad: float, params: dict[str, Any]) -> None:
    logits = random_logits(2)
    logits[0, 7] = bad
    broken, sound = sample(logits.clone(), [state(**params), state(temperature=0)], choice)
    assert broken.token is None
    assert sound.token == int(logits[1].argmax())


@pytest.mark.skipif(len(CHOICES) == 1, reason="there is no C compiler")
@pytest.mark.parametrize("scale", [0.1, 3, 30])
@pytest.mark.parametrize("vocabulary", [5, 515, 49_152])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"temperature": 0.01},
        {"top_p": 0.9},
        {"top_p": 1e-6},
        {"top_k": 3},
        {"top_k": 100_000},
        {"temperature": 2, "top_k": 200, "top_p": 0.7},
    ],
)
def test_compiled_draws_are_torchs(params: dict[str, Any], vocabulary: int, scale: float) -> None:
    logits = random_logits(8, scale=scale, vocabulary=vocabulary)
    logits[0, 1:3] = -torch.inf
    by_torch, by_compiled = ([state(**params, seed=seed) for seed in range(8)] for _ in range(2))
    for _ in range(5):
        expected = tokens(TorchChoice(), logits.double(), by_torch)  # in float32 its sums miss some of so many tokens
        assert tokens(CHOICES["compiled"], logits, by_compiled) == expected
