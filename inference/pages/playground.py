from django.db.models import Q
from django.db.models.functions import Now
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from inference import adapters
from inference.runtime import runtime
from workspace.identity import Principal
from workspace.models import Adapter, AdapterState
from workspace.pages.door import page, show

OFFERED = 200


@page()
def playground(request: HttpRequest, principal: Principal) -> HttpResponseBase:
    """Ask the base model and an adapter the same, side by side. The browser streams from `/v1/chat/completions`."""
    loaded = Adapter.objects.filter(
        Q(expires_at=None) | Q(expires_at__gt=Now()),
        workspace=principal.workspace,
        placements__backend=adapters.LOCAL,
        placements__state=AdapterState.LOADED,
    )
    return show(
        request,
        principal,
        "inference/playground.html",
        section="playground",
        model=runtime.model_name,
        adapters=loaded.order_by("adapter_id")[:OFFERED],
        asked=request.GET.get("adapter", ""),
        address=request.build_absolute_uri("/v1"),
    )
