"""The pages of documents: turn one into an adapter, see how far it is and how long it lives, ask it."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import F
from django.db.models.functions import Now
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST

from inference import adapters, internalizing, sessions
from inference.runtime import runtime
from inference.views import d2l_shapes as shapes
from workspace.audit import audit
from workspace.errors import ApiError, invalid
from workspace.identity import Principal
from workspace.models import AdapterState, Internalization
from workspace.models.internalizations import InternalizationQuerySet
from workspace.pages.door import page, show
from workspace.pages.refusal import Refusal, read_form

SHOWN = 50
FIELDS = ("document_text", "document_file", "id", "name", "method", "ttl_seconds", "session_key", "pin")
UNITS = ((1, "seconds"), (60, "minutes"), (3600, "hours"), (86400, "days"))
RUNNING = Internalization.Status.RUNNING.value
READY = Internalization.Status.READY.value


@require_http_methods(["GET", "HEAD", "POST"])
@page()
def documents(request: HttpRequest, principal: Principal) -> HttpResponseBase:
    """List the documents; POST internalizes one."""
    if request.method != "POST":
        return listing(request, principal)
    try:
        fields = read_form(shapes.NewInternalization, typed(request))
        row = internalizing.internalize(principal.workspace, shapes.wanted(fields), principal.api_key)
    except ApiError as error:
        return listing(request, principal, error.status, refusal=Refusal(error, FIELDS), typed=request.POST)
    audit(request, principal, "document.internalize", row, adapter_id=row.wanted_id, method=row.method)
    return redirect("document", row.pk)


@page()
def document(request: HttpRequest, principal: Principal, internalization_id: UUID) -> HttpResponseBase:
    """One document, with a form to ask it."""
    internalizing.find(principal.workspace, internalization_id)
    row = described(timed(Internalization.objects.all()).get(pk=internalization_id))
    return show(
        request,
        principal,
        "inference/document.html",
        section="documents",
        row=row,
        model=runtime.model_name,
    )


@require_POST
@page()
def end_session(request: HttpRequest, principal: Principal) -> HttpResponseBase:
    """Expire all adapters of a session."""
    key = shapes.readable("session_key", request.POST.get("session_key", ""))
    expired = sessions.end(principal.workspace, key)
    audit(request, principal, "session.end", None, session_key=key, adapters=len(expired))
    messages.success(request, f"The session {key} has ended; {len(expired)} of its adapters expired now.")
    return redirect("documents")


def listing(request: HttpRequest, principal: Principal, status: int = 200, **context: Any) -> HttpResponseBase:
    every = Internalization.objects.filter(workspace=principal.workspace)
    session = request.GET.get("session_key", "")
    if session:
        every = every.filter(session_key=shapes.readable("session_key", session))
    shown = Paginator(timed(every), SHOWN).get_page(request.GET.get("page"))
    rows = [described(row) for row in shown]
    return show(
        request,
        principal,
        "inference/documents.html",
        status,
        section="documents",
        rows=rows,
        shown=shown,
        session=session,
        moving=any(row["is_moving"] for row in rows),
        methods=Internalization.Method.choices,
        units=UNITS,
        **context,
    )


def timed(rows: InternalizationQuerySet) -> InternalizationQuerySet:
    """With how long the adapter of each has left to live, by the database's clock."""
    return rows.with_expiry().prefetch_related("adapter__placements").annotate(left=F("adapter__expires_at") - Now())


def described(row: Internalization) -> dict[str, Any]:
    """The API's record of a `timed` row, with what the pages show besides: seconds left, and if it can be asked."""
    record, left = row.to_dict(), row.left  # type: ignore[attr-defined]
    is_ready = record["status"] == READY
    return {
        "record": record,
        "left": left.total_seconds() if left is not None and is_ready else None,
        "is_moving": record["status"] == RUNNING,
        "is_loaded": is_ready and is_loaded(row),
    }


def is_loaded(row: Internalization) -> bool:
    placements = row.adapter.placements.all() if row.adapter else ()
    return any(each.backend == adapters.LOCAL and each.state == AdapterState.LOADED for each in placements)


def typed(request: HttpRequest) -> dict[str, Any]:
    """The form's fields as the API takes them; what was left empty is left out."""
    form = request.POST
    fields: dict[str, Any] = {name: form[name] for name in ("id", "name", "method", "session_key") if form.get(name)}
    fields["document_text"] = document_of(request)
    fields["pin"] = form.get("pin") == "on"
    if ttl := form.get("ttl_seconds", "").strip():
        fields["ttl_seconds"] = seconds(ttl, form.get("ttl_unit", ""))
    return fields


def document_of(request: HttpRequest) -> str:
    """The text of the file, if one was chosen, else what was pasted.

    Raises:
        ApiError: 400 `document_not_text`, 413 `request_too_large`.
    """
    upload = request.FILES.get("document_file")
    if upload is None:
        return request.POST.get("document_text", "").replace("\r\n", "\n")  # a browser sends pasted lines so
    if (upload.size or 0) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE >> 20
        raise ApiError(413, "request_too_large", f"A document has at most {most} MiB.", "document_file")
    try:
        return upload.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise invalid("document_file", "The file is not text in UTF-8.", "document_not_text") from None


def seconds(amount: str, unit: str) -> int | str:
    """The time to live in seconds; what is not a whole number stays as it was typed, for the serializer to refuse."""
    known = {str(size) for size, _ in UNITS}
    return int(amount) * int(unit) if amount.isdecimal() and len(amount) < 10 and unit in known else amount
