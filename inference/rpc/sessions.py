"""Prompts that gRPC clients have opened and may continue, in memory, for a while."""

import secrets
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from inference.backends.base import ChatParams
from inference.routing import RouteHints
from workspace.errors import ApiError

KEPT_S = 600.0
MAX_SESSIONS = 10_000


@dataclass
class Session:
    """Attributes:
    hints: of the call that opened it; those of a later call win.
    """

    workspace_id: uuid.UUID
    model: str
    prompt: Sequence[int]
    params: ChatParams
    hints: RouteHints
    used_at: float = 0.0


class Sessions:
    """The least recently used goes first where there are too many."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.open: dict[str, Session] = {}

    def add(self, session: Session) -> str:
        """Keep it, and return its unguessable name."""
        name = secrets.token_urlsafe(16)
        with self.lock:
            self.drop_old()
            session.used_at = time.monotonic()
            self.open[name] = session
        return name

    def peek(self, name: str) -> Session | None:
        """Whoever's it is: `find` says whether the caller may continue it."""
        with self.lock:
            return self.open.get(name)

    def find(self, name: str, workspace_id: uuid.UUID) -> Session:
        """
        Raises:
            ApiError: 404, the same whether it is unknown, over or another workspace's.
        """
        with self.lock:
            self.drop_old()
            session = self.open.pop(name, None)
            if session is not None:
                session.used_at = time.monotonic()
                self.open[name] = session
        if session is None or session.workspace_id != workspace_id:
            raise ApiError(404, "session_not_found", f"There is no session {name!r}.", "session_id")
        return session

    def release(self, name: str, workspace_id: uuid.UUID) -> bool:
        with self.lock:
            session = self.open.get(name)
            if session is None or session.workspace_id != workspace_id:
                return False
            del self.open[name]
        return True

    def drop_old(self) -> None:
        oldest = time.monotonic() - KEPT_S
        while self.open:
            name, session = next(iter(self.open.items()))
            if session.used_at >= oldest and len(self.open) < MAX_SESSIONS:
                return
            del self.open[name]


sessions = Sessions()
