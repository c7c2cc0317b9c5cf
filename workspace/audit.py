"""The audit log: who did what, from where, on every change."""

import re
from typing import Any

from django.db.models import Model
from django.http import HttpRequest
from rest_framework.request import Request

from workspace.identity import Caller, Principal
from workspace.models import AuditEntry, User, Workspace

WORD_STARTS = re.compile(r"(?<!^)(?=[A-Z])")
SOURCE_OF_CREDENTIAL = {
    "api_key": AuditEntry.Source.API,
    "open_loopback": AuditEntry.Source.API,
    "cli_token": AuditEntry.Source.CLI,
    "session": AuditEntry.Source.PAGE,
}


def audit(
    request: HttpRequest | Request,
    principal: Principal | Caller,
    action: str,
    target: Model | None,
    **details: Any,
) -> AuditEntry:
    """Record one change. Call it in the change's own transaction, so that both happen or neither.

    Args:
        request: where it came from.
        principal: who did it.
        action: what was done, as `noun.verb`.
        target: what it was done to; a target that is deleted is passed before that.
        details: what is worth knowing, as JSON; never a secret.
    """
    return AuditEntry.objects.create(
        workspace=workspace_of(principal, target),
        actor=actor_of(principal),
        user=principal.user,
        api_key=principal.api_key,
        action=action,
        object_type=kind_of(target) if target is not None else "",
        object_id=str(target.pk) if target is not None else "",
        source=SOURCE_OF_CREDENTIAL[principal.via],
        details=details,
        **origin_of(request),
    )


def workspace_of(principal: Principal | Caller, target: Model | None) -> Workspace | None:
    return principal.workspace if isinstance(principal, Principal) else getattr(target, "workspace", None)


def kind_of(target: Model) -> str:
    """The class's name in snake case, which is also the noun of its actions."""
    return WORD_STARTS.sub("_", type(target).__name__).lower()


def actor_of(principal: Principal | Caller) -> str:
    if principal.user is not None:
        return principal.user.email
    return str(principal.api_key or "open loopback")


def origin_of(request: HttpRequest | Request) -> dict[str, Any]:
    return {"ip": client_address(request), "request_id": getattr(request, "request_id", "")}


def client_address(request: HttpRequest | Request) -> str | None:
    """The caller's IP address, without the zone of a link-local one, which Postgres does not store."""
    return request.META.get("REMOTE_ADDR", "").partition("%")[0] or None


def audit_admin(request: HttpRequest, verb: str, target: Model, **details: Any) -> AuditEntry:
    """Record what staff did to `target` in the admin console."""
    assert isinstance(request.user, User)
    kind = kind_of(target)
    return AuditEntry.objects.create(
        workspace=target if isinstance(target, Workspace) else getattr(target, "workspace", None),
        actor=request.user.email,
        user=request.user,
        action=f"{kind}.{verb}",
        object_type=kind,
        object_id=str(target.pk),
        source=AuditEntry.Source.ADMIN,
        details={"object": str(target), **details},
        **origin_of(request),
    )
