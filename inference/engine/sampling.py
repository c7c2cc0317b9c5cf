"""How one request's tokens are chosen."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inference.engine.errors import InvalidSampling

MAX_STOPS = 4
MAX_STOP_CHARACTERS = 256
MAX_TOP_LOGPROBS = 20
MAX_REPETITION_PENALTY = 10
GREEDY_BELOW = 1e-5
SEEDS = range(-(2**63), 2**63)


@dataclass(frozen=True)
class SamplingParams:
    """Sampling of one request; ranges and defaults are the OpenAI API reference's where it has the parameter.

    Attributes:
        temperature: 0 to 2; 0 takes the likeliest token, exactly (and so does anything under 1e-5, where
            dividing by it would overflow).
        top_p: over 0 up to 1: only the likeliest tokens that together reach this probability.
        top_k: only the k likeliest tokens; 0 or -1: all.
        max_tokens: at least 1; None: as many as the context allows.
        min_tokens: no end-of-sequence token and no stop string ends the answer before.
        stop: up to 4 strings of 1 to 256 characters that end the answer and are not part of it.
        seed: makes the answer reproducible, whatever else runs in the same batch.
        frequency_penalty, presence_penalty: -2 to 2, on tokens of the answer.
        repetition_penalty: over 0 up to 10, on tokens of prompt and answer (CTRL, arXiv 1909.05858).
        logprobs: report each token's log-probability under the model's own distribution, that is before
            penalties, temperature, top_k and top_p.
        top_logprobs: 0 to 20 likeliest tokens to report beside it.
        ignore_eos: go on after an end-of-sequence token.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int | None = None
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logprobs: bool = False
    top_logprobs: int = 0
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        """Check every range.

        Raises:
            InvalidSampling: naming the field and what it may be.
        """
        require(0 <= self.temperature <= 2, "temperature", "must be from 0 to 2.")
        require(0 < self.top_p <= 1, "top_p", "must be over 0 and up to 1.")
        require(self.top_k >= -1, "top_k", "must be at least 1, or 0 or -1 for no limit.")
        require(self.max_tokens is None or self.max_tokens >= 1, "max_tokens", "must be at least 1.")
        require(self.min_tokens >= 0, "min_tokens", "must be at least 0.")
        require(self.min_tokens <= (self.max_tokens or math.inf), "min_tokens", "must not exceed max_tokens.")
        require(len(self.stop) <= MAX_STOPS, "stop", f"must be at most {MAX_STOPS} strings.")
        for text in self.stop:
            require(
                1 <= len(text) <= MAX_STOP_CHARACTERS,
                "stop",
                f"must be strings of 1 to {MAX_STOP_CHARACTERS} characters.",
            )
        require(self.seed is None or self.seed in SEEDS, "seed", "must be a 64-bit integer.")
        require(-2 <= self.frequency_penalty <= 2, "frequency_penalty", "must be from -2 to 2.")
        require(-2 <= self.presence_penalty <= 2, "presence_penalty", "must be from -2 to 2.")
        require(
            0 < self.repetition_penalty <= MAX_REPETITION_PENALTY,
            "repetition_penalty",
            f"must be over 0 and up to {MAX_REPETITION_PENALTY}.",
        )
        require(
            0 <= self.top_logprobs <= MAX_TOP_LOGPROBS,
            "top_logprobs",
            f"must be from 0 to {MAX_TOP_LOGPROBS}.",
        )
        require(self.logprobs or not self.top_logprobs, "top_logprobs", "needs logprobs to be true.")

    @property
    def greedy(self) -> bool:
        return self.temperature < GREEDY_BELOW

    @property
    def penalises(self) -> bool:
        return bool(self.frequency_penalty or self.presence_penalty or self.repetition_penalty != 1)


def require(holds: bool, field: str, message: str) -> None:
    if not holds:
        raise InvalidSampling(field, message)


def recommended_sampling(model_path: Path) -> SamplingParams:
    """What applies where a request is silent: the model's `generation_config.json`, else OpenAI's defaults.

    The makers of a model tune it with these settings in mind; other servers read them too. Values outside
    the ranges served are left out.
    """
    try:
        config: dict[str, Any] = json.loads((model_path / "generation_config.json").read_text())
    except FileNotFoundError:
        return SamplingParams()
    recommended = SamplingParams()
    for field in ("temperature", "top_p", "top_k", "repetition_penalty"):
        stated: dict[str, Any] = {field: config[field]} if config.get(field) is not None else {}
        try:
            recommended = replace(recommended, **stated)
        except InvalidSampling:
            continue
    return recommended
