"""The next token of every row of a step, chosen for all of them at once."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from inference.engine.sampling import SamplingParams

NUCLEUS_FIRST_LOOK = 128  # a top-p nucleus is rarely larger, and a full sort costs thirty times as much
SMALLEST_DIVISOR = 1e-5  # of a logit: anything smaller has the same effect until it overflows


class TokenCounts:
    """How often each token occurs in a prompt and its answer, sparse as texts are."""

    def __init__(self, prompt: Iterable[int]) -> None:
        self.index = {token: position for position, token in enumerate(dict.fromkeys(prompt))}
        self.size = len(self.index)
        self.tokens = np.fromiter(self.index, dtype=np.int64, count=self.size)
        self.answered = np.zeros(self.size, dtype=np.float32)

    def add(self, token: int) -> None:
        """Count one more token of the answer."""
        position = self.index.get(token)
        if position is None:
            position = self.index[token] = self.size
            if self.size == len(self.tokens):
                self.tokens = np.concatenate([self.tokens, np.empty(self.size + 16, dtype=np.int64)])
                self.answered = np.concatenate([self.answered, np.zeros(self.size + 16, dtype=np.float32)])
            self.tokens[position] = token
            self.size += 1
        self.answered[position] += 1


class SamplingState:
    """What sampling one request remembers from token to token.

    Seeded requests draw from a generator of their own, one number a token, so that neither the other rows
    of a batch nor preemption changes what they draw.
    """

    def __init__(self, params: SamplingParams, prompt: Iterable[int], eos: Sequence[int]) -> None:
        self.params = params
        self.random = random.Random(params.seed)
        self.counts = TokenCounts(prompt) if params.penalises else None
        self.eos = eos
        self.generated = 0

    @property
    def plain(self) -> bool:
        """Whether the next token is the argmax of the logits as they are, with nothing to report."""
        params = self.params
        return params.greedy and not params.logprobs and self.counts is None and not self.withholds_eos

    @property
    def withholds_eos(self) -> bool:
        return self.generated < self.params.min_tokens and not self.params.ignore_eos

    def draw(self) -> float:
        """A number in (0, 1]."""
        return 1 - self.random.random()

    def add(self, token: int) -> None:
        self.generated += 1
        if self.counts is not None:
            self.counts.add(token)


class Choice(Protocol):
    """How tokens are chosen from logits [rows, vocabulary], float32."""

    def likeliest(self, logits: Tensor) -> tuple[list[int], list[bool]]:
        """Each row's likeliest token, the first of several, and whether there is one: if its logit is finite, and none
        of the row is NaN.
        """

    def draw(self, logits: Tensor, states: Sequence[SamplingState]) -> dict[int, int]:
        """Draw a token in each row that is not greedy, by inverting the cumulative distribution: the token of each."""


@dataclass(frozen=True)
class TokenLogprob:
    """Natural-log probability of a token, and the likeliest alternatives as (token, logprob), best first."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Sampled:
    """One row's token; None where the logits are not finite, so that there is nothing to choose from."""

    token: int | None
    logprob: TokenLogprob | None = None


@torch.inference_mode()
def sample(logits: Tensor, states: Sequence[SamplingState], choice: Choice) -> list[Sampled]:
    """Choose a token for each row and count it in the row's state.

    Args:
        logits: [rows, vocabulary] float32; overwritten.
        states: of the same rows.
    """
    logprobs: dict[int, TokenLogprob] = {}
    if all(state.plain for state in states):
        chosen, finite = choice.likeliest(logits)
    else:
        reporting = [row for row, state in enumerate(states) if state.params.logprobs]
        raw = logits[reporting].log_softmax(dim=-1)
        penalise(logits, states)
        withhold_eos(logits, states)
        chosen, finite = choice.likeliest(logits)
        for row, token in choice.draw(logits, states).items():
            chosen[row] = token
        if reporting:
            logprobs = report(raw, reporting, chosen, states)
    for state, token, good in zip(states, chosen, finite, strict=True):
        if good:
            state.add(token)
    return [
        Sampled(token, logprobs.get(row)) if good else Sampled(None)
        for row, (token, good) in enumerate(zip(chosen, finite, strict=True))
    ]


def report(
    raw: Tensor, rows: Sequence[int], chosen: Sequence[int], states: Sequence[SamplingState]
) -> dict[int, TokenLogprob]:
    """The log-probabilities of `rows`, given those rows' model distributions [rows, vocabulary]."""
    wanted = [states[row].params.top_logprobs for row in rows]
    top, top_tokens = (values.tolist() for values in raw.topk(max(wanted), dim=-1))
    picked = raw.gather(1, torch.tensor([[chosen[row]] for row in rows], device=raw.device))[:, 0].tolist()
    return {
        row: TokenLogprob(
            chosen[row],
            picked[at],
            tuple(zip(top_tokens[at][: wanted[at]], top[at][: wanted[at]], strict=True)),
        )
        for at, row in enumerate(rows)
    }


def penalise(logits: Tensor, states: Sequence[SamplingState]) -> None:
    """Lower the logits of tokens that occurred, in place: repetition first, then frequency and presence."""
    counted = [(row, state.params, state.counts) for row, state in enumerate(states) if state.counts is not None]
    if not counted:
        return
    sizes = [counts.size for _, _, counts in counted]
    device = logits.device
    tokens = torch.from_numpy(np.concatenate([counts.tokens[: counts.size] for _, _, counts in counted])).to(device)
    answered = torch.from_numpy(np.concatenate([counts.answered[: counts.size] for _, _, counts in counted]))
    answered = answered.to(device)
    repeat = torch.tensor(sizes, device=device)

    def per_token(values: list[float] | list[int]) -> Tensor:
        return torch.tensor(values, device=device).repeat_interleave(repeat)

    rows = per_token([row for row, _, _ in counted])
    repetition = per_token([max(params.repetition_penalty, SMALLEST_DIVISOR) for _, params, _ in counted])
    values = logits[rows, tokens]
    values = torch.where(values > 0, values / repetition, values * repetition)
    values -= answered * per_token([params.frequency_penalty for _, params, _ in counted])
    values -= (answered > 0) * per_token([params.presence_penalty for _, params, _ in counted])
    logits[rows, tokens] = values


def withhold_eos(logits: Tensor, states: Sequence[SamplingState]) -> None:
    """Make the end impossible in rows whose answers are still too short, in place."""
    for row, state in enumerate(states):
        if state.withholds_eos:
            logits[row, [token for token in state.eos if token < logits.shape[1]]] = -torch.inf


def drawn_rows(states: Sequence[SamplingState]) -> list[int]:
    """Those that are not greedy."""
    return [row for row, state in enumerate(states) if not state.params.greedy]


class TorchChoice:
    """See `Choice`; by torch's own operations."""

    def likeliest(self, logits: Tensor) -> tuple[list[int], list[bool]]:
        best, tokens = logits.max(dim=-1)
        return tokens.tolist(), torch.isfinite(best).tolist()

    def draw(self, logits: Tensor, states: Sequence[SamplingState]) -> dict[int, int]:
        drawn: dict[int, int] = {}
        whole = [row for row in drawn_rows(states) if not narrows(states[row].params)]
        narrowed = [row for row in drawn_rows(states) if narrows(states[row].params)]
        if whole:
            scaled = logits[whole] / column([states[row].params.temperature for row in whole], logits)
            picks = invert(scaled.softmax(dim=-1).cumsum(dim=-1), [states[row].draw() for row in whole])
            drawn.update(zip(whole, picks[:, 0].tolist(), strict=True))
        if narrowed:
            scaled = logits[narrowed] / column([states[row].params.temperature for row in narrowed], logits)
            tokens = draw_narrowed(scaled, [states[row] for row in narrowed])
            drawn.update(zip(narrowed, tokens, strict=True))
        return drawn


def narrows(params: SamplingParams) -> bool:
    return params.top_k > 0 or params.top_p < 1


def draw_narrowed(scaled: Tensor, states: Sequence[SamplingState]) -> list[int]:
    """Draw within top_k and, of the distribution renormalised over those, top_p; returns a token per row.

    Looks at the likeliest tokens first; a row whose nucleus reaches beyond them is sorted in full.
    """
    vocabulary = scaled.shape[-1]
    top_k = [min(state.params.top_k, vocabulary) if state.params.top_k > 0 else vocabulary for state in states]
    top_p = column([state.params.top_p for state in states], scaled)
    draws = [state.draw() for state in states]
    limited = [k for k in top_k if k < vocabulary]
    look = min(max([NUCLEUS_FIRST_LOOK, *limited]), vocabulary)
    values, tokens = scaled.topk(look, dim=-1)
    beyond = torch.arange(look, device=scaled.device) >= column(top_k, scaled)
    values = values.masked_fill(beyond, -torch.inf)
    total = torch.where(
        column(top_k, scaled) < vocabulary,
        values.logsumexp(-1, keepdim=True),
        scaled.logsumexp(-1, keepdim=True),
    )
    cumulative = nucleus((values - total).exp(), top_p)
    chosen = tokens.gather(1, invert(cumulative, draws))[:, 0].tolist()
    reaches = (values - total).exp().sum(-1, keepdim=True) >= top_p
    beyond_look = [
        row
        for row, (within, k) in enumerate(zip(reaches[:, 0].tolist(), top_k, strict=True))
        if not within and k == vocabulary
    ]
    if beyond_look:
        values, tokens = scaled[beyond_look].sort(dim=-1, descending=True)
        cumulative = nucleus(values.softmax(dim=-1), top_p[beyond_look])
        picks = tokens.gather(1, invert(cumulative, [draws[row] for row in beyond_look]))
        for row, token in zip(beyond_look, picks[:, 0].tolist(), strict=True):
            chosen[row] = token
    return chosen


def nucleus(probabilities: Tensor, top_p: Tensor) -> Tensor:
    """Cumulative sums [rows, n] of sorted probabilities, those after the nucleus set to 0.

    The token with which the sum reaches `top_p` still belongs to the nucleus (arXiv 1904.09751).
    """
    before = probabilities.cumsum(dim=-1) - probabilities
    return probabilities.masked_fill(before >= top_p, 0).cumsum(dim=-1)


def invert(cumulative: Tensor, draws: Sequence[float]) -> Tensor:
    """The first place [rows, 1] where each row's cumulative sum reaches its draw's share of the total."""
    total = cumulative[:, -1:]
    return torch.searchsorted(cumulative, column(draws, cumulative) * total).clamp_(max=cumulative.shape[-1] - 1)


def column(values: Sequence[float] | Sequence[int], like: Tensor) -> Tensor:
    """[rows, 1] of float32 on the device of `like`."""
    return torch.tensor(values, dtype=torch.float32, device=like.device)[:, None]
