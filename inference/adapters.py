"""What can be done with adapters: register, load, unload, delete. Views and commands call these."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from inference.backends import BACKENDS, backend_named
from workspace.adapter_files import CONFIG, WEIGHTS, AdapterFiles
from workspace.errors import ApiError, invalid
from workspace.models import Adapter, AdapterPlacement, AdapterState, Workspace
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


def find(workspace: Workspace, adapter_id: str) -> Adapter:
    """The workspace's adapter by the name people use.

    Raises:
        ApiError: 404 `adapter_not_found`, the same whether it is unknown or another workspace's.
    """
    adapter = Adapter.objects.filter(workspace=workspace, adapter_id=adapter_id).with_expiry().first()
    if adapter is None:
        raise ApiError(404, "adapter_not_found", f"There is no adapter {adapter_id!r} in this workspace.", "id")
    return adapter


def register(workspace: Workspace, folder: Path, wanted: Registration) -> Adapter:
    """Check a PEFT folder against the base model, store its files and record it.

    Raises:
        ApiError: 409 `adapter_exists`, 422 `adapter_incompatible` or `checksum_mismatch`.
    """
    refuse_taken(workspace, wanted.adapter_id)
    facts = backend_named(LOCAL).check_adapter(folder)
    stored = files().store(folder)
    if wanted.checksum_sha256 and wanted.checksum_sha256.lower() != stored.checksum_sha256:
        discard(stored.content_hash)
        raise ApiError(
            422,
            "checksum_mismatch",
            f"checksum_sha256 does not match: {WEIGHTS} has SHA-256 {stored.checksum_sha256}.",
            "checksum_sha256",
        )
    try:
        with transaction.atomic():
            Adapter.objects.create(
                workspace=workspace,
                adapter_id=wanted.adapter_id,
                name=wanted.name,
                version=wanted.version,
                source=wanted.source,
                pinned=wanted.pinned,
                base_model=facts.base_model,
                rank=facts.rank,
                alpha=facts.alpha,
                target_modules=sorted(facts.target_modules),
                checksum_sha256=stored.checksum_sha256,
                content_hash=stored.content_hash,
                size_bytes=stored.size_bytes,
            )
    except IntegrityError:
        discard(stored.content_hash)
        refuse_taken(workspace, wanted.adapter_id)
        raise
    return find(workspace, wanted.adapter_id)


def describe(rows: Iterable[Adapter]) -> list[dict[str, Any]]:
    """The contract's records, with each adapter's last use as its backend knows it now."""
    live = {name: {held.key: held for held in backend.status().loaded} for name, backend in BACKENDS.items()}
    records = []
    for adapter in rows:
        record = adapter.to_record()
        for name, placement in record["backends"].items():
            held = live.get(name, {}).get(adapter.engine_key)
            if held is not None and held.last_used_at is not None:
                placement["last_used_at"] = timestamp(held.last_used_at)
        records.append(record)
    return records


def refuse_taken(workspace: Workspace, adapter_id: str) -> None:
    if Adapter.objects.filter(workspace=workspace, adapter_id=adapter_id).exists():
        raise ApiError(409, "adapter_exists", f"Adapter {adapter_id!r} exists; ids cannot be reused.", "id")


def discard(content_hash: str) -> None:
    """Remove stored files that no adapter of any workspace uses."""
    if not Adapter.objects.filter(content_hash=content_hash).exists():
        files().remove(content_hash)


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
    """Load the adapter on each of the named backends.

    Raises:
        ApiError: 404 `backend_not_found`, 409 `no_free_slot`, 410 `adapter_expired`, 422 `adapter_incompatible`.
    """
    refuse_expired(adapter)
    for backend in [backend_named(name) for name in backends]:
        placement, _ = AdapterPlacement.objects.get_or_create(adapter=adapter, backend=backend.name)
        was_loaded = placement.state == AdapterState.LOADED
        if not was_loaded:
            move(placement, AdapterState.LOADING)
        pinned = pin if pin is not None else placement.pinned or adapter.pinned
        try:
            backend.load(adapter.engine_key, files().folder(adapter.content_hash), pinned)
        except ApiError as error:
            failed = error.code == "adapter_incompatible"
            move(placement, AdapterState.FAILED if failed else AdapterState.REGISTERED, error=error.message)
            raise
        loaded_at = placement.loaded_at if was_loaded else timezone.now()
        move(placement, AdapterState.LOADED, pinned=pinned, loaded_at=loaded_at)
    if pin is not None:
        Adapter.objects.filter(pk=adapter.pk).update(pinned=pin)


def unload(adapter: Adapter, backends: Sequence[str] | None = None) -> None:
    """Unload the adapter from the named backends, or from all it is on; requests in flight finish first."""
    on = list(adapter.placements.values_list("backend", flat=True))
    for backend in [backend_named(name) for name in (on if backends is None else backends)]:
        placement = AdapterPlacement.objects.filter(adapter=adapter, backend=backend.name).first()
        if placement is None:
            continue
        move(placement, AdapterState.UNLOADING)
        backend.unload(adapter.engine_key)
        move(placement, AdapterState.REGISTERED, pinned=False)


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
    content_hash = adapter.content_hash
    adapter.delete()
    discard(content_hash)


def refuse_expired(adapter: Adapter) -> None:
    if adapter.has_expired:  # type: ignore[attr-defined]
        raise ApiError(410, "adapter_expired", f"Adapter {adapter.adapter_id!r} expired; register it anew.")


def move(placement: AdapterPlacement, state: AdapterState, error: str = "", **fields: object) -> None:
    """Write a placement's new state."""
    if state is not AdapterState.LOADED and state is not AdapterState.UNLOADING:
        fields.setdefault("loaded_at", None)
    AdapterPlacement.objects.filter(pk=placement.pk).update(state=state, error=error, **fields)


def note_eviction(engine_key: str) -> None:
    """Record that the engine has evicted an adapter to make room."""
    AdapterPlacement.objects.filter(backend=LOCAL, adapter_id=UUID(engine_key)).update(
        state=AdapterState.REGISTERED, loaded_at=None, pinned=False
    )


def restore(backend: str) -> None:
    """After a restart: load again what was loaded on the backend, pinned ones first, as far as slots go."""
    wanted = AdapterPlacement.objects.filter(
        backend=backend,
        state__in=(AdapterState.LOADED, AdapterState.LOADING, AdapterState.UNLOADING),
    ).order_by("-pinned", "-loaded_at")
    rows = list(wanted.values_list("adapter_id", "state"))
    wanted.update(state=AdapterState.REGISTERED, loaded_at=None)
    room = backend_named(backend).status().slots_free
    loaded = [pk for pk, state in rows if state == AdapterState.LOADED][:room]
    adapters = Adapter.objects.with_expiry().in_bulk(loaded)
    for pk in loaded:
        if not adapters[pk].has_expired:  # type: ignore[attr-defined]
            load_again(adapters[pk], backend)


def load_again(adapter: Adapter, backend: str) -> None:
    """A load whose failure is on record in the placement and must not keep the server from starting."""
    try:
        load(adapter, [backend])
    except ApiError as error:
        AdapterPlacement.objects.filter(adapter=adapter, backend=backend).update(
            state=AdapterState.FAILED, error=error.message
        )
