"""The page of where requests run: this node, the workspace's own servers, and the nodes that send requests here."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_POST

from inference import servers
from inference.backends import LOCAL_BACKEND
from inference.models import ComputeBackend, EntryNode
from inference.runtime import runtime
from inference.views import server_shapes as shapes
from workspace.audit import audit
from workspace.errors import ApiError, invalid
from workspace.identity import Principal
from workspace.models import ProviderCredential, Role
from workspace.pages.door import page, show
from workspace.pages.refusal import Refusal, read_form

Kind = ComputeBackend.Kind
SHAPES: dict[str, type[shapes.NewServerFields]] = {Kind.PEER: shapes.NewPeer, Kind.VLLM: shapes.NewVllm}
OPTIONAL = ("name", "http_url", "grpc_peer", "realtime_peer_url", "api_key", "adapter_folder")


@require_http_methods(["GET", "HEAD", "POST"])
@page(writes=Role.ADMIN)
def backends(request: HttpRequest, principal: Principal) -> HttpResponseBase:
    """List them; POST registers a server."""
    if request.method != "POST":
        return listing(request, principal)
    kind = request.POST.get("kind", "")
    try:
        fields = read_form(shape_of(kind), typed(request))
        row = servers.register(principal.workspace, shapes.new_server(kind, fields), fields["probe"])
    except ApiError as error:
        refusal = Refusal(error, ("kind", *OPTIONAL))
        return listing(request, principal, error.status, refusal=refusal, typed=request.POST)
    audit(request, principal, "compute_backend.create", row, name=row.name, kind=kind, http_url=row.http_url)
    say_health(request, row)
    return redirect("backends")


@require_POST
@page(writes=Role.ADMIN)
def probe_backend(request: HttpRequest, principal: Principal, backend_id: UUID) -> HttpResponseBase:
    """Ask the server what it serves, now, and bring it back to the wanted state."""
    row = get_object_or_404(ComputeBackend, pk=backend_id, workspace=principal.workspace)
    servers.check(row)
    audit(request, principal, "compute_backend.probe", row, name=row.name, reachable=row.reachable)
    say_health(request, row)
    return redirect("backends")


@require_POST
@page(writes=Role.ADMIN)
def remove_backend(request: HttpRequest, principal: Principal, backend_id: UUID) -> HttpResponseBase:
    with transaction.atomic():
        row = get_object_or_404(ComputeBackend, pk=backend_id, workspace=principal.workspace)
        audit(request, principal, "compute_backend.delete", row, name=row.name)
        servers.remove(row)
    messages.success(request, f"{row.name} is removed; nothing is sent to it any more.")
    return redirect("backends")


@require_POST
@page(writes=Role.ADMIN)
def admit_node(request: HttpRequest, principal: Principal) -> HttpResponseBase:
    """Make a key for a node that registers this one as its peer; its secret is shown this once."""
    try:
        name = read_form(shapes.NewEntryNode, {"name": request.POST.get("name", "")})["name"]
        with transaction.atomic():
            node, secret = EntryNode.admit(principal.workspace, name, principal.user)
            audit(request, principal, "entry_node.create", node, name=name)
    except ApiError as error:
        refused = {"node_refusal": Refusal(error, ("name",)), "node_typed": request.POST}
        return listing(request, principal, error.status, **refused)
    return listing(request, principal, made=node, secret=secret)


@require_POST
@page(writes=Role.ADMIN)
def turn_away_node(request: HttpRequest, principal: Principal, node_id: UUID) -> HttpResponseBase:
    with transaction.atomic():
        node = get_object_or_404(EntryNode, pk=node_id, workspace=principal.workspace)
        audit(request, principal, "entry_node.delete", node, name=node.name)
        node.turn_away()
    messages.success(request, f"The key of {node.name} is revoked.")
    return redirect("backends")


def listing(request: HttpRequest, principal: Principal, status: int = 200, **context: Any) -> HttpResponseBase:
    return show(
        request,
        principal,
        "inference/backends.html",
        status,
        section="backends",
        engine=LOCAL_BACKEND.status() if runtime.engine else None,
        model=runtime.model_name,
        is_ready=runtime.ready.is_set(),
        servers=ComputeBackend.objects.filter(workspace=principal.workspace),
        credentials=ProviderCredential.objects.filter(workspace=principal.workspace),
        nodes=EntryNode.objects.filter(workspace=principal.workspace).select_related("api_key"),
        kinds=Kind.choices,
        **context,
    )


def shape_of(kind: str) -> type[shapes.NewServerFields]:
    """
    Raises:
        ApiError: 400 for a kind that there is not.
    """
    if kind not in SHAPES:
        raise invalid("kind", f"kind: It must be one of {', '.join(SHAPES)}.")
    return SHAPES[kind]


def typed(request: HttpRequest) -> dict[str, Any]:
    """The form's fields as the API takes them; what was left empty is left out."""
    form = request.POST
    given = {name: form[name].strip() for name in OPTIONAL if form.get(name, "").strip()}
    return {**given, "probe": form.get("probe") == "on"}


def say_health(request: HttpRequest, row: ComputeBackend) -> None:
    if row.checked_at is None:
        messages.info(request, f"{row.name} is registered; it is asked at the next health check.")
    elif row.last_error:
        messages.error(request, f"{row.name} does not answer as it should: {row.last_error}")
    else:
        messages.success(request, f"{row.name} answers and serves {', '.join(row.served_models) or 'no model'}.")
