"""The page of the workspace's API keys."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_POST

from workspace.api.api_keys import NewKey, apply
from workspace.audit import audit
from workspace.errors import ApiError
from workspace.identity import Principal
from workspace.models import ApiKey, Role
from workspace.pages.door import page, show

SHOWN = 200
OPTIONAL = ("expires_in_days", "credit_limit_pence", "credit_limit_reset_period")


@require_http_methods(["GET", "HEAD", "POST"])
@page(writes=Role.ADMIN)
def keys(request: HttpRequest, principal: Principal) -> HttpResponseBase:
    """List the keys; POST makes one and shows its secret, this once."""
    if request.method != "POST":
        return listing(request, principal)
    form = NewKey(data=typed(request))
    form.is_form = True
    try:
        valid = form.is_valid()
        if valid:
            fields = form.validated_data
            key = ApiKey(workspace=principal.workspace, created_by=principal.user, env=fields.pop("env"))
            apply(key, fields)
    except ApiError as error:
        return listing(request, principal, 400, errors={error.param: [error.message]}, typed=request.POST)
    if not valid:
        return listing(request, principal, 400, errors=form.errors, typed=request.POST)
    with transaction.atomic():
        secret = key.issue()
        audit(request, principal, "api_key.create", key, name=key.name, env=key.env)
    return listing(request, principal, made=key, secret=secret)


@require_POST
@page(writes=Role.ADMIN)
def revoke(request: HttpRequest, principal: Principal, key_id: UUID) -> HttpResponseBase:
    with transaction.atomic():
        key = get_object_or_404(
            ApiKey.objects.select_for_update(), pk=key_id, workspace=principal.workspace, login=None
        )
        if not key.revoked_at:
            key.revoke()
            audit(request, principal, "api_key.revoke", key, name=key.name)
    messages.success(request, f"{key.name} is revoked.")
    return redirect("keys")


def typed(request: HttpRequest) -> dict[str, Any]:
    """The form's fields as the API takes them; what was left empty is left out."""
    form = request.POST
    fields: dict[str, Any] = {"name": form.get("name", ""), "env": form.get("env", "")}
    fields |= {name: form[name] for name in OPTIONAL if form.get(name)}
    fields["ip_allowlist"] = form.get("ip_allowlist", "").replace(",", " ").split()
    return fields


def listing(request: HttpRequest, principal: Principal, status: int = 200, **context: Any) -> HttpResponseBase:
    every = ApiKey.objects.filter(workspace=principal.workspace, login=None).select_related("created_by")
    shown = every.order_by("revoked_at", "-created_at")[:SHOWN]
    choices = {"environments": ApiKey.Environment.choices, "periods": ApiKey.ResetPeriod.choices}
    return show(request, principal, "workspace/keys.html", status, section="keys", keys=shown, **choices, **context)
