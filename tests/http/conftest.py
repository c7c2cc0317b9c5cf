"""The HTTP tests drive the server of `tests.serving`."""

from tests.serving import ALIAS, MODEL, SLOTS, Tenant

__all__ = ["ALIAS", "MODEL", "SLOTS", "Tenant"]
