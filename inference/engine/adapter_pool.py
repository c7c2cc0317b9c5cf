"""Which adapters are in the slots, who uses them, and which one makes way."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from inference.engine.adapter_file import AdapterInfo, AdapterWeights, read_adapter
from inference.engine.errors import AdapterNotLoaded, NoFreeSlot, UnloadTimeout
from inference.engine.lora import LoraSlots, Slot
from inference.engine.passing_thread import on_passing_thread

log = logging.getLogger(__name__)

T = TypeVar("T")
State = Literal["loading", "loaded", "unloading"]


class BetweenSteps(Protocol):
    """Runs a call on the engine's thread while no step runs, and waits for what it returns."""

    def __call__(self, call: Callable[[], T]) -> T: ...


@dataclass(frozen=True)
class AdapterSnapshot:
    """What there is to say of an adapter at one moment; `info` is None while its file is read."""

    key: str
    state: State
    pinned: bool
    in_flight: int
    loaded_at: datetime | None
    last_used_at: datetime | None
    info: AdapterInfo | None


@dataclass(eq=False)
class Adapter:
    """One adapter's stay in the pool. Loaded anew under the same key, it is another object.

    Attributes:
        in_flight: requests that wait or run on it.
        slot: where its weights are, from the end of loading to the end of unloading.
    """

    key: str
    pinned: bool
    state: State = "loading"
    in_flight: int = 0
    loaded_at: datetime | None = None
    last_used_at: datetime | None = None
    info: AdapterInfo | None = None
    slot: Slot | None = None

    def snapshot(self) -> AdapterSnapshot:
        return AdapterSnapshot(
            self.key,
            self.state,
            self.pinned,
            self.in_flight,
            self.loaded_at,
            self.last_used_at,
            self.info,
        )


class AdapterPool:
    """Adapters by key, in at most as many slots as there are. Safe on any thread.

    Args:
        between_steps: makes room and removes, as the weights that a running step uses must stay where they are.
        on_evict: told the key of each adapter that made way for another, on the loading thread, before the
            key can be loaded again. It must not call back into the pool with that key.
        on_remove: told of each adapter whose weights are gone, on the engine's thread.
    """

    def __init__(
        self,
        lora: LoraSlots,
        between_steps: BetweenSteps,
        on_evict: Callable[[str], None],
        on_remove: Callable[[Adapter], None],
    ) -> None:
        self.lora = lora
        self.between_steps = between_steps
        self.on_evict = on_evict
        self.on_remove = on_remove
        self.free_slots = lora.max_slots
        self.adapters: dict[str, Adapter] = {}  # the least recently used first
        self.changed = threading.Condition()
        self.loads = 0
        self.evictions = 0

    def load(self, key: str, path: Path, pinned: bool) -> AdapterSnapshot:
        """Make the adapter in the folder `path` servable under `key`; if it is already, only set `pinned`.

        Reads and copies beside the engine's thread, so that no step waits for it; and waits for none itself where a
        free slot is there.

        Raises:
            AdapterIncompatible: the files cannot be served.
            NoFreeSlot: every slot is taken by an adapter that is pinned, serving, or on its way in or out.
        """
        with self.changed:
            while (present := self.adapters.get(key)) and present.state != "loaded":
                self.changed.wait()
            if present:
                present.pinned = pinned
                return present.snapshot()
            adapter = self.adapters[key] = Adapter(key, pinned)
        return on_passing_thread(partial(self.bring_in, adapter, path))

    def bring_in(self, adapter: Adapter, path: Path) -> AdapterSnapshot:
        try:
            weights = read_adapter(path, self.lora.spec, self.lora.max_rank)
            victim = self.claim_slot()
        except BaseException:
            self.forget(adapter)
            raise
        return self.install(adapter, weights, victim)

    def claim_slot(self) -> Adapter | None:
        """Reserve a slot: a free one, or that of the returned adapter, which serves nobody from now on."""
        with self.changed:
            if self.free_slots:
                self.free_slots -= 1
                return None
            for adapter in self.adapters.values():
                if adapter.state == "loaded" and not adapter.pinned and not adapter.in_flight:
                    adapter.state = "unloading"
                    return adapter
            raise NoFreeSlot(self.lora.max_slots)

    def install(self, adapter: Adapter, weights: AdapterWeights, victim: Adapter | None) -> AdapterSnapshot:
        """Put the weights into the claimed slot; if that fails, everything is as it was before the load."""

        def make_room() -> Slot:
            if victim:
                self.vacate(victim)
            return self.lora.make_room(weights)

        slot: Slot | None = None
        try:
            slot = None if victim else self.lora.take(weights)
            slot = slot or self.between_steps(make_room)
            slot.fill(weights)
            adapter.slot = slot
        except BaseException:
            if slot:
                self.lora.remove(slot)
            with self.changed:
                if victim and victim.slot:
                    victim.state = "loaded"
                else:
                    self.free_slots += 1
            self.forget(adapter)
            raise
        finally:
            if victim and not victim.slot:
                self.report_eviction(victim)
        with self.changed:
            adapter.state, adapter.info, adapter.loaded_at = "loaded", weights.info, datetime.now(UTC)
            self.loads += 1
            self.changed.notify_all()
            return adapter.snapshot()

    def unload(self, key: str, timeout_s: float | None = None) -> None:
        """Refuse new requests on the adapter at once, wait for those in flight, free its slot.

        Does nothing where the key is not loaded. A load of the key under way is waited for first.

        Raises:
            UnloadTimeout: requests still run on it; the slot is freed once they end.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self.changed:
            target: Adapter | None = None
            while (adapter := self.adapters.get(key)) and target in (None, adapter):
                target = adapter
                if adapter.state == "loaded":
                    adapter.state = "unloading"
                    if not adapter.in_flight:
                        break
                if not self.changed.wait(deadline and deadline - time.monotonic()):
                    raise UnloadTimeout(key, adapter.in_flight)
            else:
                return
        self.between_steps(partial(self.vacate, adapter))
        self.leave(adapter)

    def set_pinned(self, key: str, pinned: bool) -> None:
        """Raises AdapterNotLoaded where the key is not there."""
        with self.changed:
            if key not in self.adapters:
                raise AdapterNotLoaded(key)
            self.adapters[key].pinned = pinned

    def acquire(self, key: str) -> Adapter:
        """Count a request in; the adapter stays until it is released.

        Raises:
            AdapterNotLoaded: there is no such adapter, or it is on its way in or out.
        """
        with self.changed:
            adapter = self.adapters.get(key)
            if adapter is None or adapter.state != "loaded":
                raise AdapterNotLoaded(key)
            adapter.in_flight += 1
            self.touch(adapter)
            return adapter

    def release(self, adapter: Adapter) -> None:
        """Count a request out, on the engine's thread between steps. The last one finishes an unload."""
        with self.changed:
            adapter.in_flight -= 1
            self.touch(adapter)
            leaves = adapter.state == "unloading" and not adapter.in_flight
        if leaves:
            self.vacate(adapter)
            self.leave(adapter)

    def snapshots(self) -> list[AdapterSnapshot]:
        """All adapters, the most recently used last."""
        with self.changed:
            return [adapter.snapshot() for adapter in self.adapters.values()]

    def touch(self, adapter: Adapter) -> None:
        adapter.last_used_at = datetime.now(UTC)
        self.adapters[adapter.key] = self.adapters.pop(adapter.key)

    def vacate(self, adapter: Adapter) -> None:
        assert adapter.slot is not None
        self.lora.remove(adapter.slot)
        adapter.slot = None
        self.on_remove(adapter)

    def leave(self, adapter: Adapter) -> None:
        with self.changed:
            self.free_slots += 1
            self.forget(adapter)

    def forget(self, adapter: Adapter) -> None:
        """Let the key be loaded again."""
        with self.changed:
            del self.adapters[adapter.key]
            self.changed.notify_all()

    def report_eviction(self, adapter: Adapter) -> None:
        self.evictions += 1
        try:
            self.on_evict(adapter.key)
        except Exception:
            log.exception("The eviction of adapter %s could not be reported", adapter.key)
        finally:
            self.forget(adapter)
