"""What a command line says when something does not work: one line, and an exit code that scripts can use."""

from dataclasses import dataclass
from enum import IntEnum


class Exit(IntEnum):
    FAILED = 1
    USAGE = 2
    REFUSED = 3  # not signed in, or not allowed
    NOT_FOUND = 4
    UNREACHABLE = 5
    LIMITED = 6  # a credit or rate limit
    CONFLICT = 7  # it is not in a state for that: loaded, expired, no slot, taken


EXIT_OF_STATUS = {
    400: Exit.USAGE,
    401: Exit.REFUSED,
    402: Exit.LIMITED,
    403: Exit.REFUSED,
    404: Exit.NOT_FOUND,
    409: Exit.CONFLICT,
    410: Exit.CONFLICT,
    413: Exit.USAGE,
    422: Exit.USAGE,
    429: Exit.LIMITED,
    503: Exit.UNREACHABLE,
}


@dataclass
class Failure(Exception):
    """Ends a command. `message` is one sentence, `code` the server's stable word for it."""

    message: str
    exit: Exit = Exit.FAILED
    code: str | None = None
    status: int | None = None

    def to_dict(self) -> dict[str, object]:
        return {"error": {"message": self.message, "code": self.code, "status": self.status}}
