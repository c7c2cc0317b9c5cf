"""The pages of adapters: what there is, where it is loaded, and what can be done with it."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from inference import adapters, internalizing
from inference.backends import LOCAL_BACKEND
from inference.models import ComputeBackend
from inference.runtime import runtime
from workspace.audit import audit
from workspace.errors import ApiError
from workspace.identity import Principal
from workspace.models import Adapter, AdapterPlacement, AdapterState
from workspace.pages.door import page, show

SHOWN = 50
IN_MOTION = (AdapterState.LOADING, AdapterState.UNLOADING)


@page()
def adapter_list(request: HttpRequest, principal: Principal) -> HttpResponseBase:
    """The workspace's adapters, the loaded ones first, and the slots of this node."""
    every = Adapter.objects.filter(workspace=principal.workspace)
    wanted = request.GET.get("q", "").strip().replace("\0", "")
    if wanted:
        every = every.filter(Q(adapter_id__icontains=wanted) | Q(name__icontains=wanted))
    shown = Paginator(every.with_expiry().order_by("-created_at", "id"), SHOWN).get_page(request.GET.get("page"))
    records = adapters.describe(shown) if runtime.engine else [adapter.to_record() for adapter in shown]
    return show(
        request,
        principal,
        "inference/adapters.html",
        section="adapters",
        records=records,
        shown=shown,
        wanted=wanted,
        slots=slots_of(principal) if runtime.engine else None,
        moving=any(record["state"] in IN_MOTION for record in records),
        max_upload_mb=settings.LAB_MAX_UPLOAD_MB,
    )


@page()
def adapter_detail(request: HttpRequest, principal: Principal, adapter_id: str) -> HttpResponseBase:
    adapter = adapters.find(principal.workspace, adapter_id)
    record = adapters.describe([adapter])[0] if runtime.engine else adapter.to_record()
    servers = ComputeBackend.objects.filter(workspace=principal.workspace).values_list("name", flat=True)
    return show(
        request,
        principal,
        "inference/adapter.html",
        section="adapters",
        adapter=adapter,
        record=record,
        backends={name: record["backends"].get(name) for name in (adapters.LOCAL, *servers)},
        moving=record["state"] in IN_MOTION,
    )


def slots_of(principal: Principal) -> dict[str, Any]:
    """One word for each slot: `used` by this workspace, `other`, or `free`."""
    status = LOCAL_BACKEND.status()
    mine = AdapterPlacement.objects.filter(
        adapter__workspace=principal.workspace, backend=adapters.LOCAL, state=AdapterState.LOADED
    ).count()
    mine = min(mine, status.slots_used)
    words = ["used"] * mine + ["other"] * (status.slots_used - mine) + ["free"] * status.slots_free
    return {"words": words, "used": status.slots_used, "mine": mine, "of": status.max_active_loras}


@require_POST
@page()
def load_adapter(request: HttpRequest, principal: Principal, adapter_id: str) -> HttpResponseBase:
    """Load it; with `pin` in the form it is pinned (`yes`) or let go (`no`) too."""
    pin = {"yes": True, "no": False}.get(request.POST.get("pin", ""))
    adapter = adapters.find(principal.workspace, adapter_id)
    try:
        adapters.load(adapter, pin=pin)
    except ApiError as error:
        messages.error(request, error.message)
    else:
        action = "adapter.load" if pin is None else "adapter.pin" if pin else "adapter.unpin"
        audit(request, principal, action, adapter, adapter_id=adapter_id)
        done = {None: "loaded", True: "loaded and pinned", False: "no longer pinned"}[pin]
        messages.success(request, f"{adapter_id} is {done}.")
    return back(request)


@require_POST
@page()
def unload_adapter(request: HttpRequest, principal: Principal, adapter_id: str) -> HttpResponseBase:
    adapter = adapters.find(principal.workspace, adapter_id)
    try:
        adapters.unload(adapter)
    except ApiError as error:
        messages.error(request, error.message)
    else:
        audit(request, principal, "adapter.unload", adapter, adapter_id=adapter_id)
        messages.success(request, f"{adapter_id} is unloaded.")
    return back(request)


@require_POST
@page()
def delete_adapter(request: HttpRequest, principal: Principal, adapter_id: str) -> HttpResponseBase:
    """Unload it if it is loaded, and delete it with its files; or give up one that is still being made."""
    if internalizing.give_up(principal.workspace, adapter_id):
        audit(request, principal, "document.give_up", None, adapter_id=adapter_id)
        messages.success(request, f"{adapter_id} is given up.")
        return redirect("documents")
    adapter = adapters.find(principal.workspace, adapter_id)
    audit(request, principal, "adapter.delete", adapter, adapter_id=adapter_id)
    adapters.delete(adapter, force=True)
    messages.success(request, f"{adapter_id} is deleted. Its usage stays in the ledger.")
    return back(request)


def back(request: HttpRequest) -> HttpResponseBase:
    """To the page that the form named, if it is one of ours."""
    wanted = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(wanted, allowed_hosts=None)
    return redirect(wanted if safe else "adapters")
