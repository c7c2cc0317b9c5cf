"""`hybrie_llm.HybrieLLMService`: prompts of tokens, continued through the same code as chat requests."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from inference.admission import admit, recognised
from inference.backends import LOCAL_BACKEND
from inference.backends.base import ChatParams, ChatRequest
from inference.completion import Completion
from inference.openai.chat_request import ChatBody
from inference.routing import RouteHints, resolve
from inference.rpc.calls import Call, Context
from inference.rpc.generated import hybrie_llm_pb2 as pb
from inference.rpc.generated.hybrie_llm_pb2_grpc import HybrieLLMServiceServicer
from inference.rpc.sessions import Session, sessions
from inference.runtime import runtime
from inference.threads import in_thread
from workspace.errors import invalid
from workspace.models import Role
from workspace.permissions import require

RANGES = {
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "top_k": (-1, 2**31 - 1),
    "repetition_penalty": (0.0, 10.0),
}


class LlmService(HybrieLLMServiceServicer):
    async def Prefill(self, request: pb.PrefillRequest, context: Context) -> pb.PrefillResponse:  # noqa: N802
        call = Call(context, "Prefill")
        async with call.answering(context):
            name = await opened(call, request)
        return pb.PrefillResponse(session_id=name, prompt_len=len(request.input_ids))

    async def DecodeNext(self, request: pb.DecodeRequest, context: Context) -> pb.DecodeResponse:  # noqa: N802
        call = Call(context, "DecodeNext")
        tokens: list[int] = []
        async with call.answering(context):
            completion, session = await continued(call, request.session_id, 1, None, request.input_ids)
            async with aclosing(completion.pieces()) as pieces:
                async for delta in pieces:
                    tokens += delta.tokens
            session.prompt = [*session.prompt, *request.input_ids, *tokens]
        return pb.DecodeResponse(output_ids=tokens)

    async def StreamGenerate(self, request: pb.GenerateRequest, context: Context) -> AsyncIterator[pb.GenerateChunk]:  # noqa: N802
        call = Call(context, "StreamGenerate")
        async with call.answering(context):
            sampling = request.sampling if request.HasField("sampling") else None
            completion, _ = await continued(call, request.session_id, request.max_new_tokens, sampling)
            async with aclosing(completion.pieces()) as pieces:
                first = True
                async for delta in pieces:
                    if first:
                        await context.send_initial_metadata(headers_of(completion))
                        first = False
                    if delta.text:
                        yield pb.GenerateChunk(token_id=delta.tokens[-1] if delta.tokens else 0, text=delta.text)

    async def ReleaseSession(self, request: pb.ReleaseRequest, context: Context) -> pb.ReleaseResponse:  # noqa: N802
        call = Call(context, "ReleaseSession")
        released = False
        async with call.answering(context):
            principal = await in_thread(call.identify)
            released = sessions.release(request.session_id, principal.workspace.pk)
        return pb.ReleaseResponse(success=released)


async def opened(call: Call, request: pb.PrefillRequest) -> str:
    """Check all that can be checked before anything is computed.

    Raises:
        ApiError: as for a chat request.
    """
    principal, facts = await recognised(call.request, call.hints.adapters(request.model_id))
    require(principal, Role.MEMBER)
    if not request.input_ids:
        raise invalid("input_ids", "input_ids must hold at least one token.")
    if request.seed >= 2**63:
        raise invalid("seed", "seed must be below 2^63.")
    params = params_of(request.sampling if request.HasField("sampling") else None)
    session = Session(
        principal.workspace.pk,
        request.model_id,
        list(request.input_ids),
        replace(params, seed=request.seed or None),
        call.hints,
    )
    route = await resolve(facts, session.model, session.hints)
    if route.backend is LOCAL_BACKEND:
        LOCAL_BACKEND.prepare(ChatRequest(call.request_id, "", (), session.params, prompt=session.prompt))
    return sessions.add(session)


async def continued(
    call: Call, session_id: str, max_tokens: int, sampling: pb.SamplingParams | None, more: Sequence[int] = ()
) -> tuple[Completion, Session]:
    """An admitted request for what follows the session's prompt."""
    principal, facts = await recognised(call.request, adapters_of(call, sessions.peek(session_id)))
    session = sessions.find(session_id, principal.workspace.pk)
    hints = hints_of(call, session)
    params = params_of(sampling) if sampling is not None else session.params
    params = replace(params, max_tokens=max_tokens or None, seed=session.params.seed)
    body = body_of(session, [*session.prompt, *more], params)
    return await admit(principal, facts, body, hints, call.request_id), session


def adapters_of(call: Call, session: Session | None) -> frozenset[str]:
    """The names that may be adapters', before it is known who asks; none if there is no such session."""
    return hints_of(call, session).adapters(session.model) if session else frozenset()


def hints_of(call: Call, session: Session) -> RouteHints:
    return call.hints if call.hints.asked() else session.hints


def body_of(session: Session, prompt: Sequence[int], params: ChatParams) -> ChatBody:
    """As tokens for the engine, and in words for the servers that take no tokens."""
    words = runtime.engine.tokenizer.decode(prompt) if runtime.engine else ""
    return ChatBody(
        model=session.model,
        messages=[{"role": "user", "content": words}],
        params=params,
        n=1,
        stream=True,
        include_usage=True,
        prompt=prompt,
    )


def params_of(sampling: pb.SamplingParams | None) -> ChatParams:
    """The message's parameters; a 0 where it can mean nothing else is the model's default.

    Raises:
        ApiError: 400, naming the one that is not served.
    """
    if sampling is None:
        return ChatParams()
    if sampling.stop_ids:
        raise invalid("sampling.stop_ids", "sampling.stop_ids is not served; leave it out.", "unsupported_parameter")
    if sampling.thinking_mode == pb.FORCE:
        raise invalid("sampling.thinking_mode", "thinking_mode FORCE is not served.", "unsupported_parameter")
    values: dict[str, Any] = {name: getattr(sampling, name) for name in RANGES}
    for name, (low, high) in RANGES.items():
        if not low <= values[name] <= high:  # not-a-number is in no range
            raise invalid(f"sampling.{name}", f"sampling.{name} must be from {low} to {high}.")
    return ChatParams(
        temperature=values["temperature"],
        top_p=values["top_p"] or None,
        top_k=values["top_k"] or None,
        repetition_penalty=values["repetition_penalty"] or None,
    )


def headers_of(completion: Completion) -> tuple[tuple[str, str], ...]:
    return (*completion.route.headers().items(), ("x-request-id", completion.request_id))
