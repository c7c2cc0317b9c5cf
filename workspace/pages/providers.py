"""The page of the workspace's own keys at cloud providers."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_POST

from workspace.api.byok import NewCredential
from workspace.audit import audit
from workspace.errors import ApiError
from workspace.identity import Principal
from workspace.models import ProviderCredential, Role
from workspace.pages.door import page, show
from workspace.pages.refusal import Refusal, read_form
from workspace.providers import PROVIDERS, store, verify

FIELDS = ("provider", "label", "secret", "base_url")


@require_http_methods(["GET", "HEAD", "POST"])
@page(writes=Role.ADMIN)
def providers(request: HttpRequest, principal: Principal) -> HttpResponseBase:
    """List the credentials; POST keeps one and asks its provider whether it takes the key."""
    if request.method != "POST":
        return listing(request, principal)
    try:
        fields = read_form(NewCredential, {name: request.POST.get(name, "").strip() for name in FIELDS})
        credential = ProviderCredential(workspace=principal.workspace, created_by=principal.user, **fields)
        with transaction.atomic():
            store(credential)
            named = {name: fields[name] for name in ("provider", "label", "base_url")}
            audit(request, principal, "provider_credential.create", credential, **named)
    except ApiError as error:
        return listing(request, principal, error.status, refusal=Refusal(error, FIELDS), typed=request.POST)
    verify(credential)
    say_verdict(request, credential)
    return redirect("providers")


@require_POST
@page(writes=Role.ADMIN)
def verify_credential(request: HttpRequest, principal: Principal, credential_id: UUID) -> HttpResponseBase:
    credential = get_object_or_404(ProviderCredential, pk=credential_id, workspace=principal.workspace)
    verify(credential)
    audit(request, principal, "provider_credential.verify", credential, status=credential.status)
    say_verdict(request, credential)
    return redirect("providers")


@require_POST
@page(writes=Role.ADMIN)
def remove_credential(request: HttpRequest, principal: Principal, credential_id: UUID) -> HttpResponseBase:
    with transaction.atomic():
        credential = get_object_or_404(ProviderCredential, pk=credential_id, workspace=principal.workspace)
        named = {"provider": credential.provider, "label": credential.label}
        audit(request, principal, "provider_credential.delete", credential, **named)
        credential.delete()
    messages.success(request, f"{credential.label} at {credential.provider} is removed, and its key with it.")
    return redirect("providers")


def listing(request: HttpRequest, principal: Principal, status: int = 200, **context: Any) -> HttpResponseBase:
    credentials = ProviderCredential.objects.filter(workspace=principal.workspace).select_related("created_by")
    return show(
        request,
        principal,
        "workspace/providers.html",
        status,
        section="providers",
        credentials=credentials,
        choices=list(PROVIDERS),
        **context,
    )


def say_verdict(request: HttpRequest, credential: ProviderCredential) -> None:
    if credential.status == ProviderCredential.Status.VALID:
        messages.success(request, f"{credential.provider} takes the key {credential.label}.")
    else:
        messages.warning(request, f"{credential.label} is kept, and {credential.status}: {credential.last_error}")
