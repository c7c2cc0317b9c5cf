"""What one request used: the value that crosses from what serves requests to what bills them."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from billing.models import Status, event_id

Row = dict[str, Any]

LENGTHS = {
    "provider": 100,
    "model": 300,
    "modality": 16,
    "adapter_id": 128,
    "session_key": 200,
    "request_id": 128,
}


def now() -> datetime:
    """The present in UTC, to the millisecond, which is the ledger's grain."""
    return to_millisecond(datetime.now(UTC))


def to_millisecond(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What one request used. `ts` is when it was admitted; any zone, kept in UTC to the millisecond.

    `input_tokens` includes `cached_tokens`. `id` makes recording idempotent: keep the `Usage` to retry it.
    Until a request ends its status is `aborted`, which is what becomes of it if the server dies.
    """

    workspace_id: uuid.UUID
    provider: str
    model: str
    mode: str
    status: str = Status.ABORTED
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    modality: str = "text"
    latency_ms: int | None = None
    ttft_ms: int | None = None
    route_decision: Mapping[str, Any] = field(default_factory=dict)
    adapter_id: str | None = None
    session_key: str | None = None
    api_key_id: uuid.UUID | None = None
    request_id: str = ""
    stream: bool = False
    ts: datetime = field(default_factory=now)
    id: uuid.UUID = None  # type: ignore[assignment]  # made from ts below

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: a moment without a zone, or a label longer than the ledger holds.
        """
        if self.ts.tzinfo is None:
            raise ValueError("Usage.ts needs a time zone.")
        object.__setattr__(self, "ts", to_millisecond(self.ts.astimezone(UTC)))
        if self.id is None:
            object.__setattr__(self, "id", event_id(self.ts))
        for name, length in LENGTHS.items():
            if len(getattr(self, name) or "") > length:
                raise ValueError(f"Usage.{name} is longer than {length} characters.")
        object.__setattr__(self, "route_decision", storable(self.route_decision))

    @property
    def is_billed_elsewhere(self) -> bool:
        """The node where the request entered bills it; here its event costs nothing."""
        return "billed_by" in self.route_decision

    def to_json(self) -> str:
        """`to_row` as the text of a JSON object."""
        return TO_JSON(self.to_row())

    def to_row(self) -> Row:
        """The columns of the event, as JSON."""
        row = {**vars(self)}
        row["id"] = str(self.id)
        row["workspace_id"] = str(self.workspace_id)
        row["api_key_id"] = None if self.api_key_id is None else str(self.api_key_id)
        row["ts"] = self.ts.isoformat()
        return row

    @classmethod
    def from_row(cls, row: Row) -> "Usage":
        return cls(
            **{
                **row,
                "id": uuid.UUID(row["id"]),
                "workspace_id": uuid.UUID(row["workspace_id"]),
                "api_key_id": uuid.UUID(row["api_key_id"]) if row["api_key_id"] else None,
                "ts": datetime.fromisoformat(row["ts"]),
            }
        )


NAMES = tuple(entry.name for entry in fields(Usage))
TO_JSON = json.JSONEncoder(separators=(",", ":")).encode  # one encoder for all: `dumps` makes one each time


def storable(value: Any) -> Any:
    """The same JSON without what Postgres' jsonb refuses in a string: null characters and lone surrogates."""
    if isinstance(value, str):
        if value.isascii() and "\0" not in value:
            return value
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value
