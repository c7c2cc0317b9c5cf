import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig

from inference.engine.adapter_pool import AdapterPool, T
from inference.engine.errors import AdapterIncompatible, AdapterNotLoaded, NoFreeSlot, UnloadTimeout
from inference.engine.families import describe
from inference.engine.lora import LoraSlots, LoraStack

SLOTS = 3


class Pool(AdapterPool):
    """A pool over real slots, with a thread of its own in the place of the engine's."""

    def __init__(self, model: Path) -> None:
        spec = describe(AutoConfig.from_pretrained(model))
        self.engine_thread = ThreadPoolExecutor(1)
        self.evicted: list[str] = []
        slots = LoraSlots(spec, torch.float32, torch.device("cpu"), SLOTS, 16)
        super().__init__(slots, self.on_engine_thread, self.evicted.append, lambda adapter: None)

    def on_engine_thread(self, call: Callable[[], T]) -> T:
        return self.engine_thread.submit(call).result()

    def states(self) -> dict[str, str]:
        return {snapshot.key: snapshot.state for snapshot in self.snapshots()}

    def installed(self) -> int:
        """How many slots hold weights."""
        return sum(slot is not None for stack in self.lora.stacks.values() for slot in stack.occupants)


@pytest.fixture
def pool(tiny_llama: Path) -> Iterator[Pool]:
    pool = Pool(tiny_llama)
    yield pool
    pool.engine_thread.shutdown()


@pytest.fixture
def path(tiny_adapters: list[Path]) -> Path:
    return tiny_adapters[0]


def start(call: Callable[[], object]) -> "threading.Thread":
    thread = threading.Thread(target=call)
    thread.start()
    return thread


def wait_until(pool: Pool, holds: Callable[[], bool]) -> None:
    with pool.changed:
        assert pool.changed.wait_for(holds, 20)


def test_a_loaded_adapter_can_be_acquired_and_says_what_it_is(pool: Pool, path: Path) -> None:
    pool.load("a", path, pinned=False)
    adapter = pool.acquire("a")
    assert adapter.slot is not None
    (snapshot,) = pool.snapshots()
    assert (snapshot.state, snapshot.pinned, snapshot.in_flight) == ("loaded", False, 1)
    assert snapshot.loaded_at is not None
    assert snapshot.last_used_at is not None
    assert snapshot.info is not None
    assert snapshot.info.rank == 8


def test_loading_again_only_sets_the_pin(pool: Pool, path: Path, tmp_path: Path) -> None:
    pool.load("a", path, pinned=False)
    assert pool.load("a", tmp_path / "absent", pinned=True).pinned
    assert pool.loads == 1
    assert pool.installed() == 1


def test_an_adapter_that_is_not_there_cannot_be_acquired(pool: Pool) -> None:
    with pytest.raises(AdapterNotLoaded):
        pool.acquire("a")
    with pytest.raises(AdapterNotLoaded):
        pool.set_pinned("a", True)


def test_the_least_recently_used_makes_way(pool: Pool, path: Path) -> None:
    for key in "abc":
        pool.load(key, path, pinned=False)
    pool.release(pool.acquire("a"))
    pool.load("d", path, pinned=False)
    assert pool.evicted == ["b"]
    assert pool.states() == dict.fromkeys("cad", "loaded")
    assert pool.installed() == SLOTS
    assert pool.free_slots == 0


def test_pinned_and_serving_adapters_stay(pool: Pool, path: Path) -> None:
    pool.load("pinned", path, pinned=True)
    for key in ("serving", "idle"):
        pool.load(key, path, pinned=False)
    adapter = pool.acquire("serving")
    pool.load("new", path, pinned=True)
    assert pool.evicted == ["idle"]
    with pytest.raises(NoFreeSlot):
        pool.load("one more", path, pinned=False)
    assert set(pool.states()) == {"pinned", "serving", "new"}
    pool.release(adapter)
    pool.load("one more", path, pinned=False)
    assert pool.evicted == ["idle", "serving"]


def test_an_unpinned_adapter_can_make_way_again(pool: Pool, path: Path) -> None:
    for key in "abc":
        pool.load(key, path, pinned=True)
    pool.set_pinned("b", False)
    pool.load("d", path, pinned=False)
    assert pool.evicted == ["b"]


def test_a_file_that_cannot_be_served_evicts_nobody(pool: Pool, path: Path, tmp_path: Path) -> None:
    for key in "abc":
        pool.load(key, path, pinned=False)
    with pytest.raises(AdapterIncompatible):
        pool.load("broken", tmp_path, pinned=False)
    assert set(pool.states()) == set("abc")
    pool.unload("a")
    with pytest.raises(AdapterIncompatible):
        pool.load("broken", tmp_path, pinned=False)
    assert pool.free_slots == 1


def test_a_failing_installation_leaves_everything_as_it_was(
    pool: Pool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("no memory")

    pool.load("a", path, pinned=False)
    with monkeypatch.context() as patch:
        patch.setattr(LoraStack, "fill", fail)
        with pytest.raises(torch.OutOfMemoryError):
            pool.load("b", path, pinned=False)
    assert pool.states() == {"a": "loaded"}
    assert (pool.free_slots, pool.installed()) == (2, 1)
    pool.load("b", path, pinned=False)


def test_a_load_into_a_free_slot_waits_for_no_step(pool: Pool, path: Path) -> None:
    pool.load("a", path, pinned=False)
    over = threading.Event()
    step = pool.engine_thread.submit(over.wait, 20)
    pool.load("b", path, pinned=False)
    assert not step.done()
    over.set()


def test_unload_frees_the_slot_and_is_content_with_nothing_to_do(pool: Pool, path: Path) -> None:
    pool.load("a", path, pinned=True)
    pool.unload("a")
    pool.unload("a")
    assert pool.snapshots() == []
    assert pool.free_slots == SLOTS
    assert pool.installed() == 0


def test_unload_refuses_new_requests_and_waits_for_those_in_flight(pool: Pool, path: Path) -> None:
    pool.load("a", path, pinned=False)
    adapter = pool.acquire("a")
    unloading = start(lambda: pool.unload("a"))
    wait_until(pool, lambda: adapter.state == "unloading")
    with pytest.raises(AdapterNotLoaded):
        pool.acquire("a")
    assert adapter.slot is not None
    pool.on_engine_thread(lambda: pool.release(adapter))
    unloading.join(20)
    assert adapter.slot is None
    assert pool.free_slots == SLOTS


def test_an_unload_that_takes_too_long_says_so_and_ends_later(pool: Pool, path: Path) -> None:
    pool.load("a", path, pinned=False)
    adapter = pool.acquire("a")
    with pytest.raises(UnloadTimeout, match="1 request"):
        pool.unload("a", timeout_s=0)
    assert pool.states() == {"a": "unloading"}
    pool.on_engine_thread(lambda: pool.release(adapter))
    assert pool.states() == {}
    assert pool.free_slots == SLOTS


def test_a_load_during_an_unload_waits_and_then_loads_anew(pool: Pool, path: Path) -> None:
    pool.load("a", path, pinned=False)
    before = pool.acquire("a")
    threads = [start(lambda: pool.unload("a")), start(lambda: pool.load("a", path, False))]
    wait_until(pool, lambda: before.state == "unloading")
    pool.on_engine_thread(lambda: pool.release(before))
    for thread in threads:
        thread.join(20)
    assert pool.acquire("a") is not before


def test_the_eviction_is_told_before_the_key_can_be_loaded_again(pool: Pool, path: Path) -> None:
    for key in "abc":
        pool.load(key, path, pinned=False)
    told, go_on = threading.Event(), threading.Event()

    def on_evict(key: str) -> None:
        told.set()
        assert go_on.wait(20)

    pool.on_evict = on_evict
    evicting = start(lambda: pool.load("d", path, False))
    assert told.wait(20)
    pool.unload("b")
    again = start(lambda: pool.load("a", path, False))
    assert pool.states()["a"] == "unloading"
    go_on.set()
    evicting.join(20)
    again.join(20)
    assert pool.states() == dict.fromkeys("cda", "loaded")


def test_an_eviction_that_cannot_be_told_does_not_fail_the_load(pool: Pool, path: Path) -> None:
    def on_evict(key: str) -> None:
        raise ConnectionError("the database is away")

    pool.on_evict = on_evict
    for key in "abcd":
        pool.load(key, path, pinned=False)
    assert set(pool.states()) == set("bcd")


def test_one_key_loaded_from_many_threads_is_loaded_once(pool: Pool, path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: pool.load("a", path, False), range(16)))
    assert pool.loads == 1
    assert pool.installed() == 1


def test_many_threads_never_exceed_the_slots_and_leave_the_books_balanced(
    pool: Pool, tiny_adapters: list[Path]
) -> None:
    def live(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(40):
            key = chance.choice("abcdef")
            try:
                match chance.randrange(4):
                    case 0:
                        pool.unload(key, timeout_s=20)
                    case 1:
                        adapter = pool.acquire(key)
                        assert adapter.slot is not None
                        pool.on_engine_thread(lambda adapter=adapter: pool.release(adapter))
                    case _:
                        pool.load(key, tiny_adapters[ord(key) % 6], pinned=False)
            except (AdapterNotLoaded, NoFreeSlot):
                continue
            assert pool.on_engine_thread(pool.installed) <= SLOTS

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(live, range(8)))
    assert set(pool.states().values()) <= {"loaded"}
    assert pool.free_slots == SLOTS - len(pool.states())
    assert pool.installed() == len(pool.states())
    assert all(snapshot.in_flight == 0 for snapshot in pool.snapshots())
