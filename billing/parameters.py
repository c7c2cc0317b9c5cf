"""Query parameters, read strictly: what is not accepted is refused by name."""

import uuid
from collections.abc import Collection
from datetime import UTC, datetime

from django.http import QueryDict

from workspace.errors import invalid


def choice(query: QueryDict, name: str, accepted: Collection[str], default: str) -> str:
    """One of `accepted`; `default` where the parameter is absent."""
    return optional_choice(query, name, accepted) or default


def optional_choice(query: QueryDict, name: str, accepted: Collection[str]) -> str | None:
    value = query.get(name)
    if value is not None and value not in accepted:
        raise invalid(name, f"{name} must be one of {', '.join(accepted)}; it is {value!r}.")
    return value


def number(query: QueryDict, name: str, default: int, lowest: int, highest: int) -> int:
    value = query.get(name)
    if value is None:
        return default
    if not (value.isascii() and value.isdigit() and lowest <= int(value[:20]) <= highest):
        raise invalid(name, f"{name} must be a whole number from {lowest} to {highest}; it is {value!r}.")
    return int(value)


def identifier(query: QueryDict, name: str) -> uuid.UUID | None:
    value = query.get(name)
    if value is None:
        return None
    try:
        return uuid.UUID(value)
    except ValueError:
        raise invalid(name, f"{name} must be a UUID; it is {value!r}.") from None


def text(query: QueryDict, name: str) -> str | None:
    value = query.get(name)
    if value is not None and "\x00" in value:
        raise invalid(name, f"{name} may not hold a null character.")
    return value


def month(query: QueryDict, name: str, default: datetime) -> datetime:
    """The start of a month written YYYY-MM, in UTC."""
    value = query.get(name)
    if value is None:
        return default
    try:
        return datetime.strptime(value, "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        raise invalid(name, f"{name} must be a month such as 2026-11; it is {value!r}.") from None
