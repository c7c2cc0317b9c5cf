"""What the engine refuses, and why. Each error has a stable `code` and what an answer must say."""


class EngineError(Exception):
    """Base of all errors of the engine; `str(error)` is one sentence for the person who asked."""

    code = "engine_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ModelUnsupported(EngineError):
    """The model's folder holds an architecture or an option that the decoder does not implement."""

    code = "model_unsupported"


class AdapterIncompatible(EngineError):
    """The adapter's files do not fit the base model, the limits or what is served.

    Attributes:
        field: the key of `adapter_config.json` or the tensor at fault.
    """

    code = "adapter_incompatible"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class AdapterNotLoaded(EngineError):
    """The request names an adapter that is in no slot, or that is being unloaded."""

    code = "adapter_not_loaded"

    def __init__(self, key: str) -> None:
        super().__init__(f"Adapter {key} is not loaded.")
        self.key = key


class NoFreeSlot(EngineError):
    """Every slot holds an adapter that is pinned, serving or on its way in or out."""

    code = "no_free_slot"

    def __init__(self, slots: int) -> None:
        super().__init__(f"All {slots} adapter slots are pinned or serving; unload one first.")
        self.slots = slots


class UnloadTimeout(EngineError):
    """Requests were still running on the adapter when the time to wait for them was over.

    The unload itself goes on: the slot is freed when the last of them ends.
    """

    code = "unload_timeout"

    def __init__(self, key: str, in_flight: int) -> None:
        super().__init__(f"Adapter {key} still serves {in_flight} requests; it is unloaded once they end.")
        self.key = key
        self.in_flight = in_flight


class QueueFull(EngineError):
    """The waiting queue has reached its bound.

    Attributes:
        retry_after_s: whole seconds after which a place is likely.
    """

    code = "queue_full"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"The queue is full; try again in {retry_after_s} s.")
        self.retry_after_s = retry_after_s


class PromptTooLong(EngineError):
    """Prompt and answer do not fit into the context.

    Attributes:
        prompt_tokens: tokens of the prompt.
        max_tokens: of the answer, as asked for; None: a single one would not fit.
        limit: the most tokens that both may have together.
    """

    code = "context_length_exceeded"

    def __init__(self, prompt_tokens: int, max_tokens: int | None, limit: int) -> None:
        asked = f" and max_tokens is {max_tokens}" if max_tokens else ""
        super().__init__(
            f"The prompt has {prompt_tokens} tokens{asked}; the context holds {limit}, prompt and answer together."
        )
        self.prompt_tokens = prompt_tokens
        self.max_tokens = max_tokens
        self.limit = limit


class InvalidRequest(EngineError):
    """A field of the request has a value that is not served.

    Attributes:
        field: the field's name.
    """

    code = "invalid_request"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field} {message}")
        self.field = field


class InvalidSampling(InvalidRequest):
    """A sampling parameter is outside its range; the message states the range."""

    code = "invalid_sampling"


class InvalidMessages(InvalidRequest):
    """The model's chat template refuses the messages; the message says why."""

    code = "invalid_messages"

    def __init__(self, message: str) -> None:
        super().__init__("messages", message)


class EngineStopped(EngineError):
    """The engine has not started, is draining or has stopped; nothing new is taken."""

    code = "engine_stopped"

    def __init__(self) -> None:
        super().__init__("The engine is not running.")
