"""The id of the request at hand, for its answer and for every line that is logged on its way."""

import logging
import re
import uuid
from contextvars import ContextVar

HEADER = "x-request-id"
SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")

current: ContextVar[str | None] = ContextVar("request_id", default=None)


def accepted(offered: str) -> str:
    """The caller's id if it is sane, else a new one."""
    return offered if SANE_REQUEST_ID.fullmatch(offered) else f"req_{uuid.uuid4().hex}"


class WithRequestId(logging.Filter):
    """Puts the id on each log record: `-` outside a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = current.get() or "-"
        return True
