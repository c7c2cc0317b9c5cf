"""Answers of a running engine, many at once."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from inference.engine.engine import Engine
from inference.engine.request import GenerationRequest, Output, merged
from inference.engine.sampling import SamplingParams

AT_ONCE = 16


@dataclass(frozen=True)
class Asked:
    """A chat prompt, and the loaded adapter to answer with; None is the base model."""

    prompt: list[int]
    adapter_key: str | None = None


def ask(engine: Engine, text: str, adapter_key: str | None = None) -> Asked:
    return Asked(engine.tokenizer.encode_chat([{"role": "user", "content": text}]), adapter_key)


def answers(engine: Engine, asked: Sequence[Asked], max_tokens: int, temperature: float = 0.0) -> list[list[int]]:
    """The tokens of each answer, in order; above temperature 0 each drawn by a seed of its own.

    Raises:
        RuntimeError: the engine failed at one of them.
    """
    outputs: list[list[Output]] = [[] for _ in asked]
    free = threading.Semaphore(AT_ONCE)

    def submit(index: int, question: Asked) -> None:
        def take(output: Output) -> None:
            outputs[index].append(output)
            if output.finish_reason:
                free.release()

        free.acquire()
        sampling = replace(SamplingParams(), temperature=temperature, max_tokens=max_tokens, seed=index)
        engine.submit(GenerationRequest(f"d2l-{index}", question.prompt, sampling, question.adapter_key), take)

    for index, question in enumerate(asked):
        submit(index, question)
    for _ in range(AT_ONCE):
        free.acquire()
    done = [merged(pieces) for pieces in outputs]
    for output in done:
        if output.error:
            raise RuntimeError(f"The engine failed: {output.error}")
    return [[token for token in output.tokens if token not in engine.tokenizer.eos] for output in done]
