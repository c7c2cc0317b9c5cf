"""The one way in for a request on any surface: may they, where will it run, and is there room in their limits."""

import asyncio
from collections.abc import Callable

from django.db import connection

from inference.completion import Completion
from inference.models import EntryNode
from inference.openai.chat_request import ChatBody
from inference.routing import NO_ADAPTER, Route, RouteHints, resolve
from workspace.identity import Principal
from workspace.models import Role
from workspace.permissions import require
from workspace.tracing import span


def admit(principal: Principal, body: ChatBody, hints: RouteHints, request_id: str) -> Completion:
    """Blocks.

    Raises:
        ApiError: the role, the route, the backend or a limit refuses it; it then leaves no event.
    """
    require(principal, Role.MEMBER)
    with span("route"):
        route = billed(resolve(principal.workspace, body.model, hints), principal, hints)
    with span("admission", backend=route.backend.name, adapter=route.adapter_id or NO_ADAPTER):
        return Completion.admit(principal, body, route, request_id)


def billed(route: Route, principal: Principal, hints: RouteHints) -> Route:
    """Another node bills what it sends here, if the key it presents is one that was made for that."""
    if not hints.from_entry_node or principal.api_key is None:
        return route
    node = EntryNode.objects.filter(api_key=principal.api_key).first()
    return route.billed_by(node.name) if node else route


async def in_thread(admission: Callable[[], Completion]) -> Completion:
    """Run an admission where it may block. A client that goes away meanwhile leaves nothing reserved.

    The database connection goes back to the pool at once: answers are long and many, and need none.
    """

    def run() -> Completion:
        try:
            return admission()
        finally:
            connection.close()

    task = asyncio.ensure_future(asyncio.to_thread(run))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(forget)
        raise


def forget(task: asyncio.Task[Completion]) -> None:
    if not task.cancelled() and task.exception() is None:
        asyncio.get_running_loop().run_in_executor(None, task.result().metered.cancel)
