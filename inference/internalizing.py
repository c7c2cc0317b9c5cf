"""What can be done with documents: internalize one, give one up. Views, pages and commands call these.

One document of one session has one adapter: sent again, it gets the same one, never for less time than it had. An
internalization and its adapter are recorded in one transaction, which holds the document's lock: of two that come at
once the second finds what the first has made, and a crash leaves neither.
"""

import hashlib
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Case, DateTimeField, F, PositiveIntegerField, Q, Value, When

from billing.limits import refuse_used_up
from inference import adapters, sessions
from inference.backends import LOCAL_BACKEND
from inference.runtime import runtime
from workspace.errors import ApiError
from workspace.locks import lock
from workspace.models import Adapter, ApiKey, Internalization, Workspace

SOURCE = "d2l"
TOGETHER = threading.BoundedSemaphore(2)  # each keeps the processor busy and holds a database connection
Method = Internalization.Method
Status = Internalization.Status


@dataclass(frozen=True)
class Wanted:
    """What a caller asks for.

    Attributes:
        adapter_id: what to call the adapter; None: a new name.
        ttl_seconds: how long it lives; None: until it is deleted.
        method: None: `hypernet` where there is a hypernetwork for the base model, else `distill`.
        loads: whether to load the adapter once it is made.
    """

    document: str
    adapter_id: str | None = None
    name: str = ""
    pinned: bool = False
    ttl_seconds: int | None = None
    session_key: str = ""
    method: Method | None = None
    loads: bool = True

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.document.encode(errors="surrogatepass")).hexdigest()


def find(workspace: Workspace, pk: UUID) -> Internalization:
    """Raises ApiError: 404 `internalization_not_found`."""
    row = Internalization.objects.filter(workspace=workspace, pk=pk).with_expiry().first()
    if row is None:
        raise ApiError(404, "internalization_not_found", f"There is no internalization {pk} in this workspace.", "id")
    return row


def internalize(workspace: Workspace, wanted: Wanted, key: ApiKey | None = None) -> Internalization:
    """Make the adapter of a document, or give the one that there is the time asked for now, if that is longer.

    A distillation has only begun when this returns.

    Args:
        key: the API key that asks, if one does.

    Raises:
        ApiError: 400 `document_empty`, 402 `credit_limit_exceeded`, 409 `adapter_exists` or `no_free_slot`, 410
            `adapter_expired` where the session ends meanwhile, 413 `document_too_long`, 422 `hypernetwork_missing`.
    """
    refuse_used_up(workspace, key)
    since = sessions.present()
    method = wanted.method or (Method.HYPERNET if LOCAL_BACKEND.hypernetwork_fits() else Method.DISTILL)
    with TOGETHER, transaction.atomic():
        lock(f"document {workspace.pk} {wanted.session_key} {wanted.sha256}")
        row = known(workspace, wanted, method) or Internalization(workspace=workspace, status=Status.FAILED)
        if not prolonged(row, wanted):
            ask(row, wanted, method)
            if method == Method.HYPERNET:
                make(row, wanted.document, since)
            else:
                begin_distillation(row, wanted.document, since)
    if wanted.loads and row.adapter:
        adapters.load(adapters.find(workspace, row.adapter.adapter_id), pin=wanted.pinned)
    return find(workspace, row.pk)


def known(workspace: Workspace, wanted: Wanted, method: Method) -> Internalization | None:
    """What came of the same document in the same session before."""
    same = Internalization.objects.filter(
        workspace=workspace, session_key=wanted.session_key, document_sha256=wanted.sha256, method=method
    )
    return same.filter(wanted_id=wanted.adapter_id).first() if wanted.adapter_id else same.first()


def prolonged(row: Internalization, wanted: Wanted) -> bool:
    """Give an adapter that lives, or is being made, the time asked for now if it ends later. False: there is none."""
    own = Adapter.objects.filter(internalizations=row)
    if row.status != Status.RUNNING and not own.unexpired().exists():
        return False
    sessions.hold(row.workspace, row.session_key)
    list(own.select_for_update())  # the next statement's clock is later than that of whoever has ended it meanwhile
    lives = own.unexpired().update(pinned=wanted.pinned, **lengthened(wanted.ttl_seconds))
    row.refresh_from_db(fields=("status", "ttl_seconds"))
    going_on = bool(lives) or row.status == Status.RUNNING
    if going_on:
        row.name = wanted.name or row.name
        row.ttl_seconds = longer(row.ttl_seconds, wanted.ttl_seconds)
        row.pinned, row.loads = wanted.pinned, wanted.loads
        row.save(update_fields=("name", "ttl_seconds", "pinned", "loads"))
    return going_on


def lengthened(ttl: int | None) -> dict[str, Any]:
    """The fields of an adapter that lives on for `ttl` seconds from now, or until it would have ended anyway."""
    if ttl is None:
        return {"ttl_seconds": None, "expires_at": None}
    ends = adapters.in_seconds(ttl)
    sooner = Q(expires_at__lt=ends)  # never true of one without an end
    return {
        "ttl_seconds": Case(
            When(sooner, then=Value(ttl)), default=F("ttl_seconds"), output_field=PositiveIntegerField()
        ),
        "expires_at": Case(When(sooner, then=ends), default=F("expires_at"), output_field=DateTimeField()),
    }


def longer(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)


def ask(row: Internalization, wanted: Wanted, method: Method) -> None:
    """Write down what is wanted, and make sure that the adapter's id is free.

    Raises:
        ApiError: 409 `adapter_exists`.
    """
    row.wanted_id = wanted.adapter_id or row.wanted_id or f"doc-{uuid.uuid4().hex[:12]}"
    row.name = wanted.name or row.name
    row.method = method
    row.base_model = runtime.model_name
    row.document_sha256 = wanted.sha256
    row.session_key = wanted.session_key
    row.ttl_seconds, row.pinned, row.loads = wanted.ttl_seconds, wanted.pinned, wanted.loads
    row.error = row.error_code = row.message = row.content_hash = ""
    row.progress, row.attempts = 0, 0
    free_id(row)


def free_id(row: Internalization) -> None:
    """The id of a document's adapter that has expired may be used again; any other is taken for good."""
    taken = Adapter.objects.filter(workspace=row.workspace, adapter_id=row.wanted_id).with_expiry().first()
    if taken is None:
        return
    if taken.source != SOURCE or not taken.has_expired:  # type: ignore[attr-defined]
        adapters.refuse_taken(row.workspace, row.wanted_id)
    row.adapter = None
    adapters.delete(taken, force=True)


def make(row: Internalization, document: str, since: datetime) -> None:
    """The hypernetwork's way: less than a second. Raises ApiError: 410 where the session has ended since then."""
    started = time.monotonic()
    with adapters.files().staging() as folder:
        made = LOCAL_BACKEND.internalize(document, folder)
        row.document_tokens = made.document_tokens
        row.internalize_ms = round((time.monotonic() - started) * 1000)
        sessions.refuse_ended(row.workspace, row.session_key, since)
        register(row, folder)
    row.status, row.progress = Status.READY, 1
    row.save()


def register(row: Internalization, folder: Path) -> None:
    """Record the adapter that was made; its time starts now. Raises ApiError as `adapters.register` does."""
    row.adapter = adapters.register(
        row.workspace,
        folder,
        adapters.Registration(
            row.wanted_id,
            source=SOURCE,
            name=row.name,
            pinned=row.pinned,
            session_key=row.session_key,
            ttl_seconds=row.ttl_seconds,
        ),
    )
    row.document_text = ""
    row.save()


def begin_distillation(row: Internalization, document: str, since: datetime) -> None:
    """Leave the document to a worker. Raises ApiError: 413 `document_too_long`, 410 where the session has ended."""
    from inference.tasks import distill_document

    refuse_too_long_to_distill(document)
    sessions.refuse_ended(row.workspace, row.session_key, since)
    row.status, row.document_text, row.message = Status.RUNNING, document, "Waiting for a worker"
    row.save()
    transaction.on_commit(lambda: distill_document.delay(str(row.pk)), robust=True)  # else `resume_work` sends it


def refuse_too_long_to_distill(document: str) -> None:
    """
    Raises:
        ApiError: 413 `document_too_long`.
    """
    from inference.d2l.distill import LONGEST_DOCUMENT
    from inference.d2l.errors import DocumentTooLong
    from inference.d2l.internalize import CHARACTERS_PER_TOKEN

    tokens = len(document) // CHARACTERS_PER_TOKEN  # at the least
    if tokens <= LONGEST_DOCUMENT:
        tokens = len(runtime.require_engine().tokenizer.encode(document))
    if tokens > LONGEST_DOCUMENT:
        error = DocumentTooLong(LONGEST_DOCUMENT, tokens)
        raise ApiError(413, error.code, f"{error} The method hypernet takes longer ones.", "document_text")


def give_up(workspace: Workspace, adapter_id: str) -> bool:
    """End what is still being made under this id. False: nothing is."""
    running = Internalization.objects.filter(
        workspace=workspace, wanted_id=adapter_id, status=Status.RUNNING, adapter=None
    )
    return bool(running.update(status=Status.EXPIRED, message="Given up", document_text="", content_hash=""))


def take_in(row: Internalization) -> None:
    """Register and load what a worker has made of a document. It is ready when it can be asked."""
    try:
        with transaction.atomic():
            sessions.hold(row.workspace, row.session_key)
            row = Internalization.objects.select_for_update().get(pk=row.pk)
            if row.status != Status.RUNNING or not row.content_hash:
                return
            if row.document_text:  # else it was registered before a server died
                register(row, adapters.files().folder(row.content_hash))
    except ApiError as error:
        finish(row, Status.FAILED, error=error.message, error_code=error.code, document_text="", content_hash="")
        return
    finish(row, Status.READY, progress=1, message=load_made(row), content_hash="")


def load_made(row: Internalization) -> str:
    """Load the adapter if that is wanted. Returns why it is not loaded: it can be loaded later."""
    try:
        if row.loads:
            adapters.load(adapters.find(row.workspace, row.wanted_id), pin=row.pinned)
    except ApiError as error:
        return error.message[:300]
    return ""


def finish(row: Internalization, status: Status, **fields: object) -> None:
    Internalization.objects.filter(pk=row.pk, status=Status.RUNNING).update(status=status, **fields)
