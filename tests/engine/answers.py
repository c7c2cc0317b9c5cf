"""Asking an engine from a test, and what the models answer alone."""

import threading
from dataclasses import replace
from itertools import count
from typing import Any

import torch
from transformers import PreTrainedModel

from inference.engine.engine import Engine
from inference.engine.request import GenerationRequest, Output, Usage
from inference.engine.sampler import TokenLogprob
from inference.engine.sampling import SamplingParams

GREEDY = SamplingParams(temperature=0, ignore_eos=True)
LONGEST_WAIT_S = 120

ids = count()


class Answer:
    """The pieces of one answer as they come."""

    def __init__(self) -> None:
        self.outputs: list[Output] = []
        self.begun = threading.Event()
        self.finished = threading.Event()
        self.request_id = ""

    def put(self, output: Output) -> None:
        self.outputs.append(output)
        self.begun.set()
        if output.finish_reason:
            self.finished.set()

    def wait(self) -> "Answer":
        assert self.finished.wait(LONGEST_WAIT_S)
        return self

    @property
    def text(self) -> str:
        return "".join(output.text for output in self.outputs)

    @property
    def tokens(self) -> list[int]:
        return [token for output in self.outputs for token in output.tokens]

    @property
    def logprobs(self) -> list[TokenLogprob]:
        return [logprob for output in self.outputs for logprob in output.logprobs]

    @property
    def finish_reason(self) -> str | None:
        return self.outputs[-1].finish_reason

    @property
    def usage(self) -> Usage:
        return self.outputs[-1].usage


def new_request(prompt: list[int], adapter: str | None = None, tenant: str = "t", **sampling: Any) -> GenerationRequest:
    """A greedy request that goes on after an end token, unless `sampling` says otherwise."""
    return GenerationRequest(f"request-{next(ids)}", prompt, replace(GREEDY, **sampling), adapter, tenant)


def ask(engine: Engine, prompt: list[int], adapter: str | None = None, tenant: str = "t", **sampling: Any) -> Answer:
    answer = Answer()
    answer.request_id = engine.submit(new_request(prompt, adapter, tenant, **sampling), answer.put)
    return answer


@torch.no_grad()
def greedy_alone(model: PreTrainedModel, prompt: list[int], tokens: int) -> list[int]:
    """What transformers, or PEFT around it, answers greedily."""
    answer = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
        do_sample=False,
        max_new_tokens=tokens,
        eos_token_id=None,
        pad_token_id=0,
    )
    return answer[0, len(prompt) :].tolist()


@torch.no_grad()
def likeliest_after(model: PreTrainedModel, prompt: list[int], answer: list[int]) -> list[int]:
    """For each token of the answer the likeliest one in its place: the answer itself exactly if it is greedy."""
    logits = model(torch.tensor([prompt + answer])).logits[0]
    return logits[len(prompt) - 1 : -1].argmax(-1).tolist()


def random_prompt(seed: int, length: int, vocabulary: int = 260) -> list[int]:
    return torch.randint(3, vocabulary, (length,), generator=torch.Generator().manual_seed(seed)).tolist()
