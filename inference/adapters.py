"""What can be done with adapters: register, load, unload, delete. Views and commands call these."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Func, Value, prefetch_related_objects
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now
from django.utils import timezone

from inference.backends import LOCAL_BACKEND, backend_named, server_of
from inference.backends.base import Backend
from inference.models import ComputeBackend
from workspace.adapter_files import CONFIG, WEIGHTS, AdapterFiles, StoredFiles
from workspace.errors import ApiError, invalid
from workspace.locks import ADAPTER_FILES, lock
from workspace.models import Adapter, AdapterPlacement, AdapterState, Internalization, Workspace
from workspace.models.adapters import timestamp

LOCAL = "local"


def files() -> AdapterFiles:
    return AdapterFiles(settings.HOME.adapters)


@dataclass(frozen=True)
class Registration:
    """What a caller says of an adapter besides its files."""

    adapter_id: str
    source: str
    name: str = ""
    version: str = "1"
    checksum_sha256: str | None = None
    pinned: bool = False
    session_key: str = ""
    ttl_seconds: int | None = None


def find(workspace: Workspace, adapter_id: str) -> Adapter:
    """The workspace's adapter by the name people use.

    Raises:
        ApiError: 404 `adapter_not_found`, the same whether it is unknown or another workspace's.
    """
    adapter = Adapter.objects.filter(workspace=workspace, adapter_id=adapter_id).with_expiry().first()
    if adapter is None:
        raise not_found(adapter_id)
    adapter.workspace = workspace  # known, so not asked for again
    return adapter


def not_found(adapter_id: str) -> ApiError:
    return ApiError(404, "adapter_not_found", f"There is no adapter {adapter_id!r} in this workspace.", "id")


def register(workspace: Workspace, folder: Path, wanted: Registration) -> Adapter:
    """Check a PEFT folder against the base model, store its files and record it; its time starts now.

    Raises:
        ApiError: 409 `adapter_exists`, 422 `adapter_incompatible` or `checksum_mismatch`.
    """
    refuse_taken(workspace, wanted.adapter_id)
    facts = LOCAL_BACKEND.check_adapter(folder)
    content_hash = None
    try:
        with transaction.atomic():
            lock(ADAPTER_FILES, shared=True)
            stored = files().store(folder)
            content_hash = stored.content_hash
            refuse_other_weights(stored, wanted.checksum_sha256)
            Adapter.objects.create(
                workspace=workspace,
                adapter_id=wanted.adapter_id,
                name=wanted.name,
                version=wanted.version,
                source=wanted.source,
                pinned=wanted.pinned,
                session_key=wanted.session_key,
                ttl_seconds=wanted.ttl_seconds,
                expires_at=in_seconds(wanted.ttl_seconds),
                base_model=facts.base_model,
                rank=facts.rank,
                alpha=facts.alpha,
                target_modules=sorted(facts.target_modules),
                checksum_sha256=stored.checksum_sha256,
                content_hash=stored.content_hash,
                size_bytes=stored.size_bytes,
            )
    except (ApiError, IntegrityError):
        if content_hash:
            discard(content_hash)
        refuse_taken(workspace, wanted.adapter_id)
        raise
    return find(workspace, wanted.adapter_id)


def refuse_other_weights(stored: StoredFiles, checksum_sha256: str | None) -> None:
    if checksum_sha256 and checksum_sha256.lower() != stored.checksum_sha256:
        raise ApiError(
            422,
            "checksum_mismatch",
            f"checksum_sha256 does not match: {WEIGHTS} has SHA-256 {stored.checksum_sha256}.",
            "checksum_sha256",
        )


def in_seconds(ttl: int | None) -> CombinedExpression | None:
    """When a time to live that starts now is over: by the database's clock, to the millisecond, as answers show it."""
    present = Func(Value("milliseconds"), Now(), function="date_trunc")
    return None if ttl is None else present + timedelta(seconds=ttl)


def describe(rows: Iterable[Adapter]) -> list[dict[str, Any]]:
    """The contract's records, with each adapter's last use as the engine of this node knows it now."""
    live = {held.key: held for held in LOCAL_BACKEND.status().loaded}
    records = []
    for adapter in rows:
        record = adapter.to_record()
        held = live.get(adapter.engine_key)
        if held is not None and held.last_used_at is not None and LOCAL in record["backends"]:
            record["backends"][LOCAL]["last_used_at"] = timestamp(held.last_used_at)
        records.append(record)
    return records


def refuse_taken(workspace: Workspace, adapter_id: str) -> None:
    if Adapter.objects.filter(workspace=workspace, adapter_id=adapter_id).exists():
        raise ApiError(409, "adapter_exists", f"Adapter {adapter_id!r} exists; ids cannot be reused.", "id")


def discard(content_hash: str) -> None:
    """Remove stored files that no adapter of any workspace uses, and none that is being registered now."""
    with transaction.atomic():
        lock(ADAPTER_FILES)
        used = Adapter.objects.filter(content_hash=content_hash, weights_deleted_at=None).exists()
        if not used and not Internalization.objects.filter(content_hash=content_hash).exists():
            files().remove(content_hash)


def folder_of_content(workspace: Workspace, content_hash: str) -> Path:
    """The files of another adapter of the workspace, which need not be sent again.

    Raises:
        ApiError: 404 `content_not_found`.
    """
    if not Adapter.objects.filter(workspace=workspace, content_hash=content_hash, weights_deleted_at=None).exists():
        message = f"content_hash: no adapter of this workspace has the content {content_hash}; send the files."
        raise ApiError(404, "content_not_found", message, "content_hash")
    return files().folder(content_hash)


def folder_under_roots(adapter_path: str) -> Path:
    """`adapter_path` resolved, if it lies under a configured root (`LAB_ADAPTER_ROOTS`).

    Raises:
        ApiError: 403 outside the roots, 400 where there is no adapter.
    """
    if "\0" in adapter_path:
        raise invalid("adapter_path", "adapter_path must not hold a NUL character.")
    path = Path(adapter_path).resolve()
    if not any(path.is_relative_to(Path(root).resolve()) for root in settings.LAB_ADAPTER_ROOTS):
        raise ApiError(
            403,
            "adapter_path_forbidden",
            f"adapter_path must lie under one of: {', '.join(settings.LAB_ADAPTER_ROOTS)}.",
            "adapter_path",
        )
    if not (path / CONFIG).is_file():
        raise invalid("adapter_path", f"adapter_path must be a folder with {CONFIG} and {WEIGHTS}.")
    return path


def load(adapter: Adapter, backends: Sequence[str] = (LOCAL,), pin: bool | None = None) -> None:
    """Load an adapter of `with_expiry()` on each of the named backends; one that fails leaves the others loaded.

    Raises:
        ApiError: 404 `backend_not_found`, 409 `no_free_slot`, 410 `adapter_expired`, 422 `adapter_incompatible`, 503
            `peer_unreachable`: only if every backend failed, of the first; else the record says which did.
    """
    refuse_expired(adapter)
    failures: list[ApiError] = []
    chosen = [backend_named(adapter.workspace, name) for name in dict.fromkeys(backends)]
    placements = placements_on(adapter, {backend.name for backend in chosen})
    for backend in chosen:
        try:
            load_on(backend, adapter, placements[backend.name], pin)
        except ApiError as error:
            failures.append(error)
    raise_if_all(failures, len(set(backends)))
    if pin is not None:
        Adapter.objects.filter(pk=adapter.pk).update(pinned=pin)
        adapter.pinned = pin


def load_on(backend: Backend, adapter: Adapter, placement: AdapterPlacement, pin: bool | None) -> None:
    was_loaded = placement.state == AdapterState.LOADED
    if not was_loaded:
        move(placement, AdapterState.LOADING)
    pinned = pin if pin is not None else placement.pinned or adapter.pinned
    try:
        backend.load(adapter.engine_key, files().folder(adapter.content_hash), pinned)
    except ApiError as error:
        is_full = error.code == "no_free_slot"
        move(placement, AdapterState.REGISTERED if is_full else AdapterState.FAILED, error=error.message)
        raise
    loaded_at = placement.loaded_at if was_loaded else timezone.now()
    move(placement, AdapterState.LOADED, pinned=pinned, loaded_at=loaded_at)


def placements_on(adapter: Adapter, backends: set[str]) -> dict[str, AdapterPlacement]:
    """The adapter's placements by backend; where it has none on one of these, it is made."""
    missing = backends - {placement.backend for placement in adapter.placements.all()}
    if missing:
        made = [AdapterPlacement(adapter=adapter, backend=backend) for backend in missing]
        AdapterPlacement.objects.bulk_create(made, ignore_conflicts=True)
        adapter.refresh_from_db(fields=["placements"])
        prefetch_related_objects([adapter], "placements")
    return {placement.backend: placement for placement in adapter.placements.all()}


def raise_if_all(failures: Sequence[ApiError], asked: int) -> None:
    """Nothing was done: fail as the first backend did. If some did as asked, the record says which did not."""
    if failures and len(failures) == asked:
        raise failures[0]


def unload(adapter: Adapter, backends: Sequence[str] | None = None) -> None:
    """Unload the adapter from the named backends, or from all it is on; requests in flight finish first.

    Raises:
        ApiError: 404 `backend_not_found`; 503 `peer_unreachable`, as for `load`, only if every backend failed.
    """
    placements = {placement.backend: placement for placement in adapter.placements.all()}
    on = list(placements) if backends is None else list(dict.fromkeys(backends))
    failures: list[ApiError] = []
    for backend in [backend_named(adapter.workspace, name) for name in on]:
        placement = placements.get(backend.name)
        if placement is None:
            continue
        move(placement, AdapterState.UNLOADING)
        try:
            backend.unload(adapter.engine_key)
        except ApiError as error:
            move(placement, AdapterState.FAILED, error=error.message)
            failures.append(error)
        else:
            move(placement, AdapterState.REGISTERED, pinned=False)
    raise_if_all(failures, len(on))


def delete(adapter: Adapter, force: bool = False) -> None:
    """Delete the adapter and, if nobody else uses them, its files. Its usage history stays.

    Raises:
        ApiError: 409 `adapter_loaded` while it is loaded, unless `force` unloads it first.
    """
    if adapter.placements.exclude(state__in=(AdapterState.REGISTERED, AdapterState.FAILED)).exists():
        if not force:
            raise ApiError(
                409,
                "adapter_loaded",
                f"Adapter {adapter.adapter_id!r} is loaded; unload it first, or add ?force=true.",
            )
        unload(adapter)
    for row in ComputeBackend.objects.filter(
        workspace=adapter.workspace, name__in=adapter.placements.values_list("backend", flat=True)
    ):
        with suppress(ApiError):  # a server that is away keeps files that nothing names any more
            server_of(row).forget(adapter.engine_key)
    content_hash = adapter.content_hash
    adapter.delete()
    transaction.on_commit(lambda: discard(content_hash))


def refuse_expired(adapter: Adapter) -> None:
    if adapter.has_expired:  # type: ignore[attr-defined]
        raise expired(adapter)


def expired(adapter: Adapter) -> ApiError:
    return ApiError(410, "adapter_expired", f"Adapter {adapter.adapter_id!r} expired; register it anew.")


def move(placement: AdapterPlacement, state: AdapterState, error: str = "", **fields: object) -> None:
    """Write a placement's new state."""
    if state is not AdapterState.LOADED and state is not AdapterState.UNLOADING:
        fields.setdefault("loaded_at", None)
    fields |= {"state": state, "error": error}
    AdapterPlacement.objects.filter(pk=placement.pk).update(**fields)
    vars(placement).update(fields)


def note_eviction(engine_key: str) -> None:
    """Record that the engine has evicted an adapter to make room."""
    AdapterPlacement.objects.filter(backend=LOCAL, adapter_id=UUID(engine_key)).update(
        state=AdapterState.REGISTERED, loaded_at=None, pinned=False
    )


def restore() -> None:
    """After a restart: load into the engine again what was loaded, pinned ones first, as far as slots go."""
    wanted = AdapterPlacement.objects.filter(
        backend=LOCAL,
        state__in=(AdapterState.LOADED, AdapterState.LOADING, AdapterState.UNLOADING),
    ).order_by("-pinned", "-loaded_at")
    rows = list(wanted.values_list("adapter_id", "state"))
    wanted.update(state=AdapterState.REGISTERED, loaded_at=None)
    room = LOCAL_BACKEND.status().slots_free
    loaded = [pk for pk, state in rows if state == AdapterState.LOADED][:room]
    adapters = Adapter.objects.with_expiry().in_bulk(loaded)
    for pk in loaded:
        if not adapters[pk].has_expired:  # type: ignore[attr-defined]
            load_again(adapters[pk], LOCAL)


def load_again(adapter: Adapter, backend: str) -> None:
    """A load whose failure is on record in the placement and must not keep the server from starting."""
    try:
        load(adapter, [backend])
    except ApiError as error:
        AdapterPlacement.objects.filter(adapter=adapter, backend=backend).update(
            state=AdapterState.FAILED, error=error.message
        )
