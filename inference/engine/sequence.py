"""One request on its way through the engine."""

from collections.abc import Callable

from inference.engine.adapter_pool import Adapter
from inference.engine.detokenizer import Detokenizer
from inference.engine.kv_cache import KVRow
from inference.engine.request import FinishReason, GenerationRequest, Output, Usage
from inference.engine.sampler import Sampled, SamplingState
from inference.engine.tokenizer import Tokenizer


class Sequence:
    """Prompt and answer so far, what of it is computed, and how the answer goes on.

    Attributes:
        adapter: None is the base model.
        tokens: prompt and answer.
        computed: how many of them have their keys and values in `kv`.
        kv: None while waiting.
        cached: tokens of the prompt that were found computed.
        longest: how many tokens there may be in all.
        admitted: whether it was ever taken out of the queue.
    """

    def __init__(
        self,
        request: GenerationRequest,
        room: int,
        tokenizer: Tokenizer,
        on_output: Callable[[Output], None],
    ) -> None:
        params = request.sampling
        self.id = request.request_id
        self.tenant = request.tenant
        self.adapter: Adapter | None = None
        self.on_output = on_output
        self.tokens = list(request.prompt_tokens)
        self.prompt_length = len(self.tokens)
        self.longest = self.prompt_length + room
        self.ends = () if params.ignore_eos else tokenizer.eos
        self.sampling = SamplingState(params, self.tokens, tokenizer.eos)
        self.detokenizer = Detokenizer(tokenizer, params.stop, params.min_tokens)
        self.kv: KVRow | None = None
        self.computed = 0
        self.cached = 0
        self.admitted = False
        self.finish_reason: FinishReason | None = None

    @property
    def missing(self) -> int:
        """Tokens still to compute; one while decoding."""
        return len(self.tokens) - self.computed

    @property
    def decoding(self) -> bool:
        return self.kv is not None and self.missing == 1 and len(self.tokens) > self.prompt_length

    @property
    def usage(self) -> Usage:
        return Usage(self.prompt_length, self.cached, len(self.tokens) - self.prompt_length)

    def take(self, sampled: Sampled) -> Output:
        """Append the next token; the output says whether the answer ends with it."""
        token = sampled.token
        if token is None:
            return self.end("error", "The model's output is not finite.")
        self.tokens.append(token)
        ended = token in self.ends
        text = "" if ended else self.detokenizer.add(token)
        reason: FinishReason | None = None
        if ended or self.detokenizer.stopped:
            reason = "stop"
        elif len(self.tokens) == self.longest:
            reason = "length"
        if reason and not self.detokenizer.stopped:
            text += self.detokenizer.finish()
        self.finish_reason = reason
        return Output(text, [token], [sampled.logprob] if sampled.logprob else (), self.usage, reason)

    def end(self, reason: FinishReason, error: str | None = None) -> Output:
        """End the answer before its time."""
        self.finish_reason = reason
        return Output("", (), (), self.usage, reason, error)
