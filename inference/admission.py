"""The one way in for a request on any surface: may they, where will it run, and is there room in their limits."""

from django.http import HttpRequest

from inference.completion import Completion
from inference.facts import Facts
from inference.facts_reader import facts_in, facts_of_key
from inference.openai.chat_request import ChatBody
from inference.routing import NO_ADAPTER, RouteHints, resolve
from inference.threads import in_thread
from workspace.identity import Principal, api_key_secret, by_key, identify
from workspace.models import Role
from workspace.permissions import require
from workspace.tracing import span


async def recognised(request: HttpRequest, adapters: frozenset[str]) -> tuple[Principal, Facts]:
    """Who a request acts as, and what is known for it. A request with an API key asks the database once.

    Args:
        adapters: the names in the request that may be adapters'.

    Raises:
        ApiError: as `workspace.identity.identify`; 503 `limits_unavailable` while Postgres is away.
    """
    secret = api_key_secret(request)
    if secret is None:
        principal = await in_thread(lambda: identify(request))
        return principal, await facts_in(principal.workspace, adapters)
    facts = await facts_of_key(secret, adapters)
    key = facts.api_key if facts else None
    if key is not None and key.login_id is not None:
        principal = await in_thread(lambda: by_key(key, request))
    else:
        principal = by_key(key, request)
    assert key is not None  # else `by_key` has refused it
    assert facts is not None
    if key.use_is_news and not facts.is_old:
        await in_thread(key.note_use)
    return principal, facts


async def admit(principal: Principal, facts: Facts, body: ChatBody, hints: RouteHints, request_id: str) -> Completion:
    """
    Raises:
        ApiError: the role, the route, the backend or a limit refuses it; it then leaves no event.
    """
    require(principal, Role.MEMBER)
    with span("route"):
        route = await resolve(facts, body.model, hints)
    with span("admission", backend=route.backend.name, adapter=route.adapter_id or NO_ADAPTER):
        return await Completion.admit(principal, body, route, request_id, facts.is_limited)
