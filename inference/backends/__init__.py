"""The backends of this node, by name."""

from inference.backends.base import Backend
from inference.backends.local import LocalBackend
from workspace.errors import ApiError

BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (LocalBackend(),)}


def backend_named(name: str) -> Backend:
    """The backend, or 404 `backend_not_found`."""
    try:
        return BACKENDS[name]
    except KeyError:
        raise ApiError(
            404, "backend_not_found", f"There is no backend {name!r}; there are: {', '.join(BACKENDS)}.", "backends"
        ) from None
