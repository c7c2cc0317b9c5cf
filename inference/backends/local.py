"""The engine of this process as a backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inference.backends.base import (
    AdapterFacts,
    Backend,
    BackendStatus,
    ChatDelta,
    ChatParams,
    ChatRequest,
    ChatUsage,
    LoadedAdapter,
    Prepared,
    TokenLogprob,
)
from inference.engine import errors
from inference.engine.request import GenerationRequest
from inference.engine.sampling import SamplingParams
from inference.engine.stream import OutputStream
from inference.hypernetworks import hypernetworks
from inference.runtime import runtime
from workspace.errors import ApiError, invalid

if TYPE_CHECKING:
    from inference.d2l.internalize import Internalized
    from inference.engine.engine import Engine
    from inference.engine.request import Output


class LocalBackend(Backend):
    name = "local"
    provider = "local"
    mode = "byoc"

    def check_adapter(self, folder: Path) -> AdapterFacts:
        """Read and check a PEFT folder against the base model without loading it."""
        with refusals():
            info = runtime.require_engine().check_adapter(folder)
        return AdapterFacts(runtime.model_name, info.rank, info.alpha, info.target_modules)

    def load(self, key: str, folder: Path, pinned: bool) -> None:
        with refusals():
            runtime.require_engine().load_adapter(key, folder, pinned)

    def unload(self, key: str) -> None:
        with refusals():
            runtime.require_engine().unload_adapter(key)

    def hypernetwork_fits(self) -> bool:
        """Whether there is a hypernetwork for the base model."""
        return hypernetworks.internalizer(runtime.require_engine(), runtime.model_name) is not None

    def internalize(self, text: str, folder: Path) -> Internalized:
        """Write the adapter of a document into a folder (Doc-to-LoRA); blocks for about a second.

        Raises:
            ApiError: 400 `document_empty`, 413 `document_too_long`, 422 `hypernetwork_missing`.
        """
        from inference.d2l.errors import DocumentTooLong, EmptyDocument

        engine = runtime.require_engine()
        internalizer = hypernetworks.internalizer(engine, runtime.model_name)
        if internalizer is None:
            message = f"There is no hypernetwork for {runtime.model_name}; method can be distill."
            raise ApiError(422, "hypernetwork_missing", message, "method")
        try:
            return internalizer.internalize(text, folder)
        except DocumentTooLong as error:
            raise ApiError(413, error.code, str(error), "document_text") from error
        except EmptyDocument as error:
            raise ApiError(400, error.code, str(error), "document_text") from error
        except errors.InvalidRequest as error:
            raise invalid("document_text", str(error)) from error

    def status(self) -> BackendStatus:
        engine = runtime.require_engine()
        stats = engine.stats()
        return BackendStatus(
            max_active_loras=stats.max_active_loras,
            slots_used=stats.slots_used,
            loaded=[LoadedAdapter(held.key, held.pinned, held.last_used_at) for held in engine.adapters()],
        )

    def prepare(self, request: ChatRequest) -> Prepared:
        """Tokenize. The most that can come of it is `max_tokens`, or what the context leaves, for each choice."""
        engine = runtime.require_open()
        with refusals():
            prompt = engine.tokenizer.encode_chat(request.messages) if request.prompt is None else request.prompt
            engine.check_prompt(prompt)
            room = engine.room(len(prompt), request.params.max_tokens)
        return Prepared(request, partial(len, prompt), room * request.n, prompt)

    async def chat(self, prepared: Prepared, usage: ChatUsage) -> AsyncGenerator[ChatDelta]:
        engine = runtime.require_open()
        request = prepared.request
        streams: list[OutputStream] = []
        ready = asyncio.Event()

        def count() -> None:
            usage.update(
                prompt_tokens=prepared.input_tokens,
                completion_tokens=sum(stream.completion_tokens for stream in streams),
                cached_tokens=streams[0].cached_tokens,
            )

        try:
            for index in range(request.n):
                with refusals():
                    asked = generation(engine, prepared, index)
                    streams.append(OutputStream(engine, asked, whole=request.whole, on_usage=count, ready=ready))
            count()
            async for index, output in together(streams, ready):
                if output.error:
                    raise ApiError(500, "generation_failed", f"The engine failed: {output.error}")
                yield delta(engine, index, output, request.params)
        finally:
            for stream in streams:
                await stream.aclose()
            if usage.admitted:
                count()

    def health(self) -> dict[str, Any]:
        return {"healthy": runtime.ready.is_set()}


@contextmanager
def refusals() -> Iterator[None]:
    """What the engine refuses, as the answer that a client gets."""
    try:
        yield
    except errors.AdapterIncompatible as error:
        raise ApiError(422, error.code, str(error), error.field) from error
    except errors.NoFreeSlot as error:
        raise ApiError(409, error.code, str(error)) from error
    except errors.AdapterNotLoaded as error:
        raise ApiError(409, error.code, "The adapter is not loaded; load it first.") from error
    except errors.PromptTooLong as error:
        raise invalid("messages", str(error), error.code) from error
    except errors.InvalidRequest as error:
        raise invalid(error.field, str(error)) from error
    except errors.QueueFull as error:
        headers = {"Retry-After": str(error.retry_after_s)}
        raise ApiError(429, error.code, str(error), headers=headers) from error
    except errors.EngineStopped as error:
        raise ApiError(503, error.code, str(error), headers={"Retry-After": "5"}) from error


def generation(engine: Engine, prepared: Prepared, index: int) -> GenerationRequest:
    request = prepared.request
    return GenerationRequest(
        request_id=f"{request.request_id}-{index}",
        prompt_tokens=prepared.prompt,
        sampling=sampling(engine.default_sampling, request.params, index),
        adapter_key=request.adapter_key,
        tenant=request.tenant,
    )


def sampling(defaults: SamplingParams, params: ChatParams, index: int) -> SamplingParams:
    """The engine's parameters: the request's over the model's; each choice of a seeded request has its own seed."""
    asked = {name: value for name, value in vars(params).items() if value is not None}
    asked["stop"] = tuple(params.stop)
    if params.seed is not None:
        asked["seed"] = params.seed + index
    return replace(defaults, **asked)


async def together(streams: Sequence[OutputStream], ready: asyncio.Event) -> AsyncGenerator[tuple[int, Output]]:
    """The pieces of all streams as they come, each with its stream's index; `ready` is that of all of them."""
    while not all(stream.finished for stream in streams):
        await ready.wait()
        ready.clear()
        for index, stream in enumerate(streams):
            if output := stream.take():
                yield index, output


def delta(engine: Engine, index: int, output: Output, params: ChatParams) -> ChatDelta:
    tokens = [
        token_logprob(engine, logprob.token, logprob.logprob, logprob.top)
        for logprob in output.logprobs
        if params.logprobs and logprob.token not in engine.tokenizer.eos
    ]
    return ChatDelta(index, output.text, tokens, output.finish_reason, output.tokens)


def token_logprob(engine: Engine, token: int, logprob: float, top: Sequence[tuple[int, float]] = ()) -> TokenLogprob:
    spelled = engine.tokenizer.token_bytes(token)
    return TokenLogprob(
        token=spelled.decode("utf-8", "replace"),
        logprob=logprob,
        bytes=list(spelled),
        top=[token_logprob(engine, *alternative) for alternative in top],
    )
