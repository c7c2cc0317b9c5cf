"""Where a chat request runs: the contract's routing headers, the model's name, and the adapter."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inference import adapters
from inference.backends import backend_named
from inference.backends.base import Backend
from inference.runtime import runtime
from workspace.errors import ApiError, invalid
from workspace.models import Adapter, AdapterState, Workspace

EXECUTION_MODES = ("local", "cloud", "hybrid")
NO_ADAPTER = "none"


@dataclass(frozen=True)
class RouteHints:
    """What the caller asked for in headers (HTTP) or metadata (gRPC)."""

    adapter_id: str | None = None
    execution_mode: str | None = None
    cloud_provider: str | None = None
    preferred_peer_id: str | None = None

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> "RouteHints":
        return cls(
            adapter_id=headers.get("x-hybrie-adapter-id") or None,
            execution_mode=headers.get("x-hybrie-execution-mode") or None,
            cloud_provider=headers.get("x-hybrie-cloud-provider") or None,
            preferred_peer_id=headers.get("x-hybrie-preferred-peer-id") or None,
        )

    def asked(self) -> dict[str, str]:
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Route:
    """The decision: a backend, and the adapter to serve through, if any."""

    backend: Backend
    model: str
    mode: str
    adapter: Adapter | None
    decision: dict[str, Any]

    @property
    def adapter_id(self) -> str | None:
        return self.adapter.adapter_id if self.adapter else None

    def headers(self) -> dict[str, str]:
        return {
            "x-hybrie-selected-mode": self.mode,
            "x-hybrie-selected-backend": self.backend.name,
            "x-hybrie-adapter-id": self.adapter_id or NO_ADAPTER,
        }


def resolve(workspace: Workspace, model: str, hints: RouteHints) -> Route:
    """Decide where a request runs.

    Raises:
        ApiError: 400 for a bad mode or provider, 404 for an unknown model, adapter or peer, 409 for an adapter that
            is not loaded, 410 for one that has expired.
    """
    mode = hints.execution_mode or "local"
    if mode not in EXECUTION_MODES:
        raise invalid(
            "x-hybrie-execution-mode", f"x-hybrie-execution-mode must be one of {', '.join(EXECUTION_MODES)}."
        )
    if hints.preferred_peer_id:
        raise ApiError(
            404,
            "peer_not_found",
            f"There is no compute peer {hints.preferred_peer_id!r} in this workspace.",
            "x-hybrie-preferred-peer-id",
        )
    if hints.cloud_provider or mode == "cloud":
        raise invalid(
            "x-hybrie-cloud-provider",
            f"This workspace has no credential for a cloud provider {hints.cloud_provider or ''!r}.",
            "provider_not_configured",
        )
    adapter = find_adapter(workspace, model, hints)
    decision = {
        "asked": {"model": model, **hints.asked()},
        "selected": {"backend": adapters.LOCAL, "mode": "local"},
        "reason": "served by the engine of this node",
    }
    return Route(backend_named(adapters.LOCAL), runtime.model_name, "local", adapter, decision)


def find_adapter(workspace: Workspace, model: str, hints: RouteHints) -> Adapter | None:
    """The adapter a request names by header, or else by `model`; None for the base model."""
    is_base = runtime.answers_to(model)
    if hints.adapter_id:
        if not is_base and not Adapter.objects.filter(workspace=workspace, adapter_id=model).exists():
            raise unknown_model(model)
        return servable(adapters.find(workspace, hints.adapter_id))
    if is_base:
        return None
    try:
        return servable(adapters.find(workspace, model))
    except ApiError as error:
        raise unknown_model(model) if error.code == "adapter_not_found" else error from error


def servable(adapter: Adapter) -> Adapter:
    adapters.refuse_expired(adapter)
    placements = {placement.backend: placement.state for placement in adapter.placements.all()}
    if placements.get(adapters.LOCAL) != AdapterState.LOADED:
        raise ApiError(
            409,
            "adapter_not_loaded",
            f"Adapter {adapter.adapter_id!r} is not loaded; POST /v1/adapters/{adapter.adapter_id}/load first.",
        )
    return adapter


def unknown_model(model: str) -> ApiError:
    served = ", ".join(runtime.names)
    return ApiError(
        404,
        "model_not_found",
        f"There is no model {model!r} here; use {served}, or a loaded adapter's id.",
        "model",
    )
