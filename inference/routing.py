"""Where a chat request runs: the contract's routing headers, the model's name, and the adapter."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from inference import adapters
from inference.backends import LOCAL_BACKEND, server_of
from inference.backends.base import Backend
from inference.backends.peer import ENTRY_NODE_HEADER
from inference.decision import CLOUD, ENGINE, Asked, Decision, Place, decide
from inference.facts import Facts, KnownAdapter
from inference.models import ComputeBackend
from inference.providers import CloudTarget, cloud_target
from inference.runtime import runtime
from workspace.errors import ApiError, invalid
from workspace.models import Adapter
from workspace.models.adapters import ADAPTER_ID

EXECUTION_MODES = ("local", "cloud", "hybrid")
NO_ADAPTER = "none"
IS_ADAPTER_ID = re.compile(ADAPTER_ID).fullmatch


@dataclass(frozen=True)
class RouteHints:
    """What the caller asked for in headers (HTTP) or metadata (gRPC).

    Attributes:
        from_entry_node: another node sent it here to be served here.
    """

    adapter_id: str | None = None
    execution_mode: str | None = None
    cloud_provider: str | None = None
    preferred_peer_id: str | None = None
    from_entry_node: bool = False

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> "RouteHints":
        return cls(
            adapter_id=headers.get("x-hybrie-adapter-id") or None,
            execution_mode=headers.get("x-hybrie-execution-mode") or None,
            cloud_provider=headers.get("x-hybrie-cloud-provider") or None,
            preferred_peer_id=headers.get("x-hybrie-preferred-peer-id") or None,
            from_entry_node=ENTRY_NODE_HEADER in headers,
        )

    def asked(self) -> dict[str, str]:
        return {name: value for name, value in vars(self).items() if value}

    def adapters(self, model: str) -> frozenset[str]:
        """The names in a request for `model` that may be adapters'."""
        return frozenset(name for name in (self.adapter_id, model) if name and IS_ADAPTER_ID(name))


@dataclass(frozen=True)
class Route:
    """The decision: a backend, and the adapter to serve through, if any.

    Attributes:
        model: what the backend calls the model.
        fallbacks: where else, in order, if the backend does not take the request after all.
    """

    backend: Backend
    model: str
    mode: str
    adapter: Adapter | None
    decision: dict[str, Any]
    fallbacks: Sequence["Route"] = field(default=(), repr=False)

    @property
    def adapter_id(self) -> str | None:
        return self.adapter.adapter_id if self.adapter else None

    def headers(self) -> dict[str, str]:
        return {
            "x-hybrie-selected-mode": self.mode,
            "x-hybrie-selected-backend": self.backend.name,
            "x-hybrie-adapter-id": self.adapter_id or NO_ADAPTER,
        }

    def instead(self, error: ApiError) -> "Route | None":
        """The next place, when this one gave `error` rather than take the request."""
        if not self.fallbacks:
            return None
        following, *rest = self.fallbacks
        passed = [*self.decision.get("skipped", ()), {"backend": self.backend.name, "why": error.code}]
        return replace(following, decision={**following.decision, "skipped": passed}, fallbacks=tuple(rest))

    def billed_by(self, entry_node: str) -> "Route":
        """The same, as it is recorded where another node bills the request."""
        return replace(self, decision={**self.decision, "billed_by": entry_node})


async def resolve(facts: Facts, model: str, hints: RouteHints) -> Route:
    """Decide where a request runs. Waits only where a provider must be asked which models it has.

    Raises:
        ApiError: 400 for a bad mode or provider, 404 for an unknown model, adapter or peer, 409 for an adapter that
            is not loaded where the request would run, 410 for one that has expired, 503 for a peer that is away.
    """
    if hints.execution_mode not in (None, *EXECUTION_MODES):
        raise invalid(
            "x-hybrie-execution-mode", f"x-hybrie-execution-mode must be one of {', '.join(EXECUTION_MODES)}."
        )
    wanted = Wanted.find(facts, model, hints)
    servers = [] if hints.from_entry_node else facts.servers
    preferred = None if hints.preferred_peer_id is None else peer_among(servers, hints.preferred_peer_id)
    compute = [wanted.on_engine(), *(wanted.on_server(row) for row in servers if row is not preferred)]
    ours = preferred is not None or any(place.model for place in compute)
    target = (
        None
        if hints.from_entry_node
        else await cloud_target(facts, model, hints.execution_mode, hints.cloud_provider, ours)
    )
    mode = hints.execution_mode or ("cloud" if target else "local")
    if mode == "cloud" and preferred:
        raise invalid(
            "x-hybrie-preferred-peer-id", "A request in the mode cloud goes to no peer; leave one of them out."
        )
    asked = Asked(
        mode=mode,
        model=model,
        compute=compute,
        adapter_id=wanted.adapter.adapter_id if wanted.adapter else None,
        preferred=wanted.on_server(preferred) if preferred else None,
        cloud=wanted.in_cloud(target) if target else None,
    )
    backends: dict[str, Backend] = {LOCAL_BACKEND.name: LOCAL_BACKEND}
    backends.update({row.name: server_of(row) for row in servers})
    if target:
        backends[target.backend.name] = target.backend
    route = routes(asked, decide(asked), hints, wanted.adapter, backends)
    # Another node bills what it sends here, if the key it presents is one that was made for that
    return route.billed_by(facts.entry_node) if hints.from_entry_node and facts.entry_node else route


def routes(
    asked: Asked, decision: Decision, hints: RouteHints, adapter: Adapter | None, backends: Mapping[str, Backend]
) -> Route:
    """The decision as routes, the first with the others behind it."""
    skipped = [{"backend": name, "why": why} for name, why in decision.skipped]
    found = []
    for choice in decision.choices:
        place = choice.place
        record: dict[str, Any] = {
            "asked": {"model": asked.model, **hints.asked()},
            "mode": asked.mode,
            "selected": {"backend": place.name, "mode": place.mode, "model": place.model},
            "reason": choice.reason,
            **({"skipped": skipped} if skipped else {}),
        }
        found.append(Route(backends[place.name], place.model or asked.model, place.mode, adapter, record))
    return replace(found[0], fallbacks=tuple(found[1:]))


@dataclass(frozen=True)
class Wanted:
    """The model and the adapter that a request names, and what each place has of them.

    Attributes:
        is_base: the model is this node's base model, or was named by an adapter's id.
    """

    model: str
    is_base: bool
    known: KnownAdapter | None

    @classmethod
    def find(cls, facts: Facts, model: str, hints: RouteHints) -> "Wanted":
        """
        Raises:
            ApiError: 404 `adapter_not_found`, 410 `adapter_expired`.
        """
        is_base = runtime.answers_to(model)
        by_model = None if is_base else facts.adapters.get(model)
        known = facts.adapters.get(hints.adapter_id) if hints.adapter_id else by_model
        if hints.adapter_id and known is None:
            raise adapters.not_found(hints.adapter_id)
        if known is not None and known.has_expired:
            raise adapters.expired(known.adapter)
        return cls(model, is_base or by_model is not None, known)

    @property
    def adapter(self) -> Adapter | None:
        return self.known.adapter if self.known else None

    def holds(self, name: str) -> bool:
        return self.known is None or name in self.known.loaded_on

    def on_engine(self) -> Place:
        model = runtime.model_name if self.is_base else None
        return Place(LOCAL_BACKEND.name, ENGINE, model, runtime.ready.is_set(), self.holds(LOCAL_BACKEND.name))

    def on_server(self, row: ComputeBackend) -> Place:
        """A server's name for the model: the caller's, or another of the names that the base model goes by here."""
        names = [self.model, *(runtime.names if self.is_base else ())]
        model = next((name for name in names if name in row.served_models), None)
        if model is None and self.is_base and self.adapter and self.holds(row.name) and row.served_models:
            model = row.served_models[0]  # it has taken the adapter, so this is the base model under another name
        return Place(row.name, row.kind, model, row.reachable, self.holds(row.name))

    def in_cloud(self, target: CloudTarget) -> Place:
        return Place(target.backend.name, CLOUD, target.model, holds_adapter=self.adapter is None)


def peer_among(servers: Sequence[ComputeBackend], peer_id: str) -> ComputeBackend:
    """The server of that id or name.

    Raises:
        ApiError: 404 `peer_not_found`.
    """
    for row in servers:
        if peer_id in (str(row.pk), row.name):
            return row
    message = f"There is no compute peer {peer_id!r} in this workspace."
    raise ApiError(404, "peer_not_found", message, "x-hybrie-preferred-peer-id")
