"""Which places may serve a request, in which order: a pure function of what is known when it is asked."""

from collections.abc import Sequence
from dataclasses import dataclass

from workspace.errors import ApiError

ENGINE, CLOUD = "local", "cloud"
UNHEALTHY, NO_MODEL, NO_ADAPTER = "unhealthy", "model_not_served", "adapter_not_loaded"


@dataclass(frozen=True)
class Place:
    """One place as it stands.

    Attributes:
        kind: `local` (the engine of this node), `peer`, `vllm` or `cloud`.
        model: what the place calls the model that was asked for; None: it does not serve it.
        holds_adapter: it can serve the adapter that was asked for, or none was.
    """

    name: str
    kind: str
    model: str | None
    healthy: bool = True
    holds_adapter: bool = True

    @property
    def mode(self) -> str:
        return "cloud" if self.kind == CLOUD else "local"

    @property
    def obstacle(self) -> str | None:
        """Why it cannot serve the request."""
        if self.model is None:
            return NO_MODEL
        if not self.holds_adapter:
            return NO_ADAPTER
        return None if self.healthy else UNHEALTHY


@dataclass(frozen=True)
class Asked:
    """What was asked, and the places there are.

    Attributes:
        mode: `local`, `cloud` or `hybrid`.
        model: as the caller wrote it.
        adapter_id: the adapter, if one was named.
        compute: the engine first, then the workspace's own servers in order of registration.
        preferred: the peer that the caller prefers; not among `compute`.
        cloud: the provider that a cloud or hybrid request would go to.
    """

    mode: str
    model: str
    compute: Sequence[Place]
    adapter_id: str | None = None
    preferred: Place | None = None
    cloud: Place | None = None


@dataclass(frozen=True)
class Choice:
    place: Place
    reason: str


@dataclass(frozen=True)
class Decision:
    """The places to try, best first, and those that were passed over before the first."""

    choices: tuple[Choice, ...]
    skipped: tuple[tuple[str, str], ...]


def decide(asked: Asked) -> Decision:
    """
    Raises:
        ApiError: no place can serve the request; the code says what is missing.
    """
    order = candidates(asked)
    usable = [choice for choice in order if choice.place.obstacle is None]
    if not usable:
        raise refusal(asked, [choice.place for choice in order])
    before = order[: order.index(usable[0])]
    return Decision(tuple(usable), tuple((choice.place.name, choice.place.obstacle or "") for choice in before))


def candidates(asked: Asked) -> list[Choice]:
    """`local`: the preferred peer alone, or this node's engine and then the own servers. `hybrid`: all of these in
    that order, and then the cloud. `cloud`: the provider alone."""
    cloud = [Choice(asked.cloud, "sent to the cloud provider")] if asked.cloud else []
    if asked.mode == "cloud":
        return cloud
    preferred = [Choice(asked.preferred, "preferred by the caller")] if asked.preferred else []
    if asked.mode == "local" and preferred:
        return preferred
    compute = [Choice(place, reason_for(place)) for place in asked.compute]
    if asked.mode == "local":
        return compute
    return preferred + compute + [Choice(choice.place, "no compute of its own could serve it") for choice in cloud]


def reason_for(place: Place) -> str:
    return "served by the engine of this node" if place.kind == ENGINE else "served by an own server with the model"


def refusal(asked: Asked, places: Sequence[Place]) -> ApiError:
    serving = [place for place in places if place.model is not None]
    if not serving:
        where = f" on {places[0].name!r}" if asked.preferred and asked.mode == "local" else " here"
        return ApiError(
            404, "model_not_found", f"There is no model {asked.model!r}{where}; see GET /v1/models.", "model"
        )
    holding = [place for place in serving if place.holds_adapter]
    if not holding:
        everywhere = [*asked.compute, *([asked.preferred] if asked.preferred else [])]
        return not_available(asked) if any(place.holds_adapter for place in everywhere) else not_loaded(asked)
    if asked.adapter_id and asked.mode == "hybrid":
        return not_available(asked)
    return away(holding[0])


def not_loaded(asked: Asked) -> ApiError:
    adapter = asked.adapter_id
    if asked.mode != "local" or asked.preferred:
        return not_available(asked)
    return ApiError(
        409, "adapter_not_loaded", f"Adapter {adapter!r} is not loaded; POST /v1/adapters/{adapter}/load first."
    )


def not_available(asked: Asked) -> ApiError:
    return ApiError(
        409,
        "adapter_not_available_on_backend",
        f"Adapter {asked.adapter_id!r} is not loaded where this request would run; "
        f"POST /v1/adapters/{asked.adapter_id}/load with that backend's name, or choose another place.",
    )


def away(place: Place) -> ApiError:
    if place.kind == ENGINE:
        message = "The server is starting or stopping."
        return ApiError(503, "engine_not_ready", message, headers={"Retry-After": "2"})
    message = f"{place.name!r} cannot be reached now; try again, or let the request go elsewhere."
    return ApiError(503, "peer_unreachable", message, headers={"Retry-After": "5"})
