"""What internalizing refuses, and why. Each error has a stable `code`."""


class D2LError(Exception):
    """Base of all errors of Doc-to-LoRA; `str(error)` is one sentence for the person who asked."""

    code = "d2l_error"


class EmptyDocument(D2LError):
    """The document holds no text."""

    code = "document_empty"

    def __init__(self) -> None:
        super().__init__("The document holds no text.")


class DocumentTooLong(D2LError):
    """The document has more tokens than can be internalized.

    Attributes:
        limit: the most tokens that are taken.
        tokens: those of the document.
    """

    code = "document_too_long"

    def __init__(self, limit: int, tokens: int) -> None:
        super().__init__(f"The document has {tokens} tokens; at most {limit} can be internalized.")
        self.limit = limit
        self.tokens = tokens


class HypernetworkMisfit(D2LError):
    """The hypernetwork was trained on another base model."""

    code = "hypernetwork_misfit"

    def __init__(self, trained_on: str, base: str) -> None:
        super().__init__(f"The hypernetwork was trained on {trained_on}, not on {base}.")


class BaseUnsupported(D2LError):
    """The base model cannot be adapted: no chat template, or no projections of the expected names."""

    code = "base_unsupported"


class Cancelled(D2LError):
    """The work was cancelled; nothing was written that counts."""

    code = "cancelled"

    def __init__(self) -> None:
        super().__init__("Cancelled.")
