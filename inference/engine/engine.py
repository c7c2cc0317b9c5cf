"""One model, served to many requests at once by one thread."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

from inference.engine.adapter_file import AdapterInfo, read_adapter
from inference.engine.adapter_pool import AdapterPool, AdapterSnapshot
from inference.engine.config import EngineConfig
from inference.engine.errors import EngineStopped, InvalidRequest, PromptTooLong, QueueFull
from inference.engine.kv_budget import plan_kv
from inference.engine.model_runner import ModelRunner, StepRow
from inference.engine.passing_thread import on_passing_thread
from inference.engine.prefill_pace import PrefillPace
from inference.engine.prefix_cache import PrefixCache
from inference.engine.request import GenerationRequest, Output
from inference.engine.sampler import sample
from inference.engine.sampling import recommended_sampling
from inference.engine.scheduler import Chunk, Scheduler
from inference.engine.sequence import Sequence
from inference.engine.stats import Counters, EngineStats
from inference.engine.stream import OutputStream, Wakeups
from inference.engine.tokenizer import Tokenizer

log = logging.getLogger(__name__)

T = TypeVar("T")

FINISHES_REMEMBERED = 32
LONGEST_RETRY_S = 60
WARM_UP_TOKENS = 64
WARM_UP_STEPS = 3
WARM_UP_STREAMS = 16


class Engine:
    """Continuous batching of requests on the base model and on adapters, which come and go meanwhile.

    Public methods are safe on any thread. The model, the KV cache and the slots belong to the engine's thread;
    it takes in what others left for it between two steps.

    Args:
        on_evict: told the key of each adapter that made way for another, on the thread that loads that other.

    Attributes:
        tokenizer: text to prompts and back.
        default_sampling: what the model recommends; start from it with `dataclasses.replace`.
        max_len: most tokens of prompt and answer together.

    Raises:
        ModelUnsupported: the model cannot be served.
        EngineError: the device or dtype asked for is not there.
    """

    def __init__(self, config: EngineConfig, on_evict: Callable[[str], None] = lambda key: None) -> None:
        device, dtype = config.torch_device(), config.torch_dtype()
        self.config = config
        self.tokenizer = Tokenizer(config.model_path)
        self.default_sampling = recommended_sampling(config.model_path)
        kv_plan = plan_kv(config, dtype, device)
        self.max_len = kv_plan.max_len
        self.runner = on_passing_thread(
            lambda: ModelRunner.load(
                config.model_path,
                dtype,
                device,
                config.max_active_loras,
                config.max_lora_rank,
                kv_plan.tokens,
                kv_plan.max_len,
            )
        )
        self.prefixes = PrefixCache(self.runner.kv, kv_plan.prefix_tokens)
        self.pool = AdapterPool(self.runner.lora, self.between_steps, on_evict, self.prefixes.drop_adapter)
        self.scheduler = Scheduler(self.runner.kv, self.prefixes, config.max_running)
        self.pace = PrefillPace(config.prefill_chunk)
        self.counters = Counters()
        self.finished_at: deque[float] = deque(maxlen=FINISHES_REMEMBERED)

        self.wakeups = Wakeups()
        self.inbox = threading.Condition()
        self.state: Literal["new", "running", "draining", "stopped"] = "new"
        self.requests: dict[str, Sequence] = {}
        self.arrivals: list[Sequence] = []
        self.cancels: set[str] = set()
        self.calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self.thread: threading.Thread

    def start(self) -> None:
        """Start the engine's thread, also after a stop; returns once the model has computed a first few steps."""
        self.thread = threading.Thread(target=self.run, name="engine", daemon=True)
        with self.inbox:
            self.state = "running"
        self.thread.start()
        self.between_steps(self.warm_up)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start, and stop in the end: beside the engine's thread another's OpenMP workers sleep between operations."""
        self.start()
        try:
            yield
        finally:
            self.stop()

    def drain(self, timeout_s: float) -> bool:
        """Refuse new requests and wait for those taken. False: some were still running after `timeout_s`."""
        with self.inbox:
            if self.state == "running":
                self.state = "draining"
            return self.inbox.wait_for(lambda: not self.requests, timeout_s)

    def stop(self) -> None:
        """Stop the thread. Requests that still run end with "error"."""
        with self.inbox:
            started = self.state != "new"
            self.state = "stopped"
            self.inbox.notify_all()
        if started:
            self.thread.join()

    def submit(self, request: GenerationRequest, on_output: Callable[[Output], None]) -> str:
        """Take a request in; returns the id to cancel it by, another than the request's if that one is running.

        `on_output` gets each piece of the answer, on the engine's thread, and must not block. The last piece
        has a finish reason, and there always is a last one.

        Raises:
            AdapterNotLoaded, EngineStopped, InvalidRequest, PromptTooLong, QueueFull
        """
        self.check_prompt(request.prompt_tokens)
        room = self.room(len(request.prompt_tokens), request.sampling.max_tokens)
        sequence = Sequence(request, room, self.tokenizer, on_output)
        with self.inbox:
            if self.state != "running":
                raise EngineStopped
            if len(self.requests) >= self.config.max_running + self.config.max_queue:
                raise QueueFull(self.retry_after_s())
            if request.adapter_key is not None:
                sequence.adapter = self.pool.acquire(request.adapter_key)
            while sequence.id in self.requests:
                sequence.id += "+"
            self.requests[sequence.id] = sequence
            self.arrivals.append(sequence)
            self.inbox.notify_all()
        return sequence.id

    def generate(self, request: GenerationRequest) -> OutputStream:
        """`submit` for asyncio: iterate over the pieces; close the stream to cancel. Raises as `submit` does."""
        return OutputStream(self, request)

    def cancel(self, request_id: str) -> None:
        """End a request before the next step; its last piece says "cancelled". Too late: nothing happens."""
        with self.inbox:
            if request_id in self.requests:
                self.cancels.add(request_id)
                self.inbox.notify_all()

    def check_adapter(self, path: Path) -> AdapterInfo:
        """Read an adapter's folder without loading it. Raises AdapterIncompatible."""
        spec, max_rank = self.runner.spec, self.config.max_lora_rank
        return on_passing_thread(lambda: read_adapter(path, spec, max_rank)).info

    def load_adapter(self, key: str, path: Path, pinned: bool = False) -> AdapterSnapshot:
        """See `AdapterPool.load`. Raises AdapterIncompatible, NoFreeSlot, EngineStopped."""
        self.require_thread()
        return self.pool.load(key, path, pinned)

    def unload_adapter(self, key: str, timeout_s: float | None = None) -> None:
        """See `AdapterPool.unload`. Raises UnloadTimeout, EngineStopped."""
        self.pool.unload(key, timeout_s)

    def set_pinned(self, key: str, pinned: bool) -> None:
        """Protect an adapter from eviction, or no longer. Raises AdapterNotLoaded."""
        self.pool.set_pinned(key, pinned)

    def adapters(self) -> list[AdapterSnapshot]:
        """All adapters in the slots or on their way in or out, the most recently used last."""
        return self.pool.snapshots()

    def stats(self) -> EngineStats:
        counters, slots = self.counters, self.config.max_active_loras
        running = len(self.scheduler.running)
        return EngineStats(
            queue_depth=max(0, len(self.requests) - running),
            running=running,
            kv_used_tokens=self.runner.kv.used_tokens,
            kv_capacity_tokens=self.runner.kv.capacity_tokens,
            prefix_used_tokens=self.prefixes.used_tokens,
            prefix_capacity_tokens=self.prefixes.capacity_tokens,
            max_active_loras=slots,
            slots_used=slots - self.pool.free_slots,
            slots_free=self.pool.free_slots,
            steps=counters.steps,
            rows=counters.rows,
            prompt_tokens=counters.prompt_tokens,
            cached_tokens=counters.cached_tokens,
            completion_tokens=counters.completion_tokens,
            preemptions=self.scheduler.preemptions,
            adapter_loads=self.pool.loads,
            adapter_evictions=self.pool.evictions,
            finished=dict(counters.finished),
        )

    def check_prompt(self, prompt: Collection[int]) -> None:
        """Raises InvalidRequest where the model could not read it."""
        if not prompt:
            raise InvalidRequest("prompt_tokens", "must hold at least one token.")
        if min(prompt) < 0 or max(prompt) >= self.runner.spec.vocab:
            raise InvalidRequest("prompt_tokens", f"must be from 0 to {self.runner.spec.vocab - 1}.")

    def room(self, prompt_tokens: int, max_tokens: int | None) -> int:
        """The most tokens that an answer to such a prompt may have: `max_tokens`, or what the context leaves.

        Raises:
            PromptTooLong: they do not fit the context together.
        """
        left = self.max_len - prompt_tokens
        if left < (max_tokens or 1):
            raise PromptTooLong(prompt_tokens, max_tokens, self.max_len)
        return max_tokens or left

    def retry_after_s(self) -> int:
        """Seconds after which a request will have ended, going by the last ones."""
        if len(self.finished_at) < 2:
            return 1
        pause_s = (time.monotonic() - self.finished_at[0]) / len(self.finished_at)
        return min(LONGEST_RETRY_S, 1 + int(pause_s))

    def between_steps(self, call: Callable[[], T]) -> T:
        """Have the engine's thread run `call` while no step runs, and wait for its result.

        Raises:
            EngineStopped: the thread does not run.
        """
        future: Future[T] = Future()
        with self.inbox:
            self.require_thread()
            self.calls.append((call, future))
            self.inbox.notify_all()
        return future.result()

    def require_thread(self) -> None:
        if self.state in ("new", "stopped"):
            raise EngineStopped

    # From here on: the engine's thread

    def run(self) -> None:
        try:
            while self.take_in():
                self.step()
                self.wakeups.send()
        except Exception:
            log.exception("The engine's thread failed")
        finally:
            self.close()

    def take_in(self) -> bool:
        """Take in what others left, waiting while there is nothing to do. False: stop."""
        with self.inbox:
            self.inbox.wait_for(lambda: self.requests or self.calls or self.state == "stopped")
            if self.state == "stopped":
                return False
            arrivals, self.arrivals = self.arrivals, []
            cancels, self.cancels = self.cancels, set()
            call, future = self.calls.popleft() if self.calls else (None, None)
        for sequence in arrivals:
            self.scheduler.add(sequence)
        for request_id in cancels:
            self.emit(self.requests[request_id], self.requests[request_id].end("cancelled"))
        if call and future:  # one at a time, so that running answers do not wait for several loads
            try:
                future.set_result(call())
            except Exception as error:
                future.set_exception(error)
        return True

    def step(self) -> None:
        """Compute the next token of every running answer, and a piece of the prompts that wait."""
        budget = self.pace.budget(self.scheduler.decoding, self.scheduler.beginning)
        chunks = self.scheduler.schedule(budget)
        if not chunks:
            return
        streams = sum(chunk.sequence.decoding for chunk in chunks)
        sampling = [chunk.sequence for chunk in chunks if chunk.completes]
        started = time.perf_counter()
        try:
            logits = self.runner.step([self.row(chunk) for chunk in chunks])
            states = [sequence.sampling for sequence in sampling]
            sampled = sample(logits, states, self.runner.choice) if states else []
        except Exception as error:
            log.exception("A step of %d rows failed", len(chunks))
            for chunk in chunks:
                self.emit(chunk.sequence, chunk.sequence.end("error", f"The step failed: {error}"))
            return
        prompt_tokens = sum(chunk.count for chunk in chunks) - streams
        self.pace.observe(time.perf_counter() - started, streams, prompt_tokens)
        self.counters.steps += 1
        self.counters.rows += len(chunks)
        self.counters.prompt_tokens += prompt_tokens
        self.counters.completion_tokens += len(sampled)
        for chunk in chunks:
            chunk.sequence.computed += chunk.count
        for sequence, token in zip(sampling, sampled, strict=True):
            if sequence.computed == sequence.prompt_length and token.token is not None:
                self.counters.cached_tokens += sequence.cached
                self.prefixes.save(sequence)  # now, for those who come while the answer still runs
            self.emit(sequence, sequence.take(token))

    def row(self, chunk: Chunk) -> StepRow:
        sequence = chunk.sequence
        start = sequence.computed
        slot = sequence.adapter.slot if sequence.adapter else None
        assert sequence.kv is not None
        return StepRow(sequence.kv, sequence.tokens[start : start + chunk.count], start, slot, chunk.completes)

    def emit(self, sequence: Sequence, output: Output) -> None:
        """Hand a piece on; after the last one nothing of the request is left."""
        if output.finish_reason:
            self.forget(sequence, output.finish_reason)
        try:
            sequence.on_output(output)
        except Exception:
            log.exception("Nobody takes the answer of request %s", sequence.id)
            if not output.finish_reason:
                self.forget(sequence, "cancelled")

    def forget(self, sequence: Sequence, reason: str) -> None:
        self.scheduler.remove(sequence)
        if sequence.adapter:
            self.pool.release(sequence.adapter)
        self.counters.finished[reason] += 1
        self.finished_at.append(time.monotonic())
        with self.inbox:
            del self.requests[sequence.id]
            self.cancels.discard(sequence.id)
            self.inbox.notify_all()

    def warm_up(self) -> None:
        """Compute a few tokens, so that the first request finds everything prepared and the pace is known.

        A prompt's, those of one stream, and those of many.
        """
        allocate = self.runner.kv.allocate
        one = allocate(WARM_UP_TOKENS + WARM_UP_STEPS)
        assert one is not None
        many = list(filter(None, (allocate(WARM_UP_STEPS) for _ in range(WARM_UP_STREAMS))))
        self.warm_up_step([StepRow(one, [0] * WARM_UP_TOKENS, 0, None, True)])
        for step in range(WARM_UP_STEPS):
            self.warm_up_step([StepRow(one, [0], WARM_UP_TOKENS + step, None, True)])
            if many:
                self.warm_up_step([StepRow(kv, [0], step, None, True) for kv in many])
        for kv in (one, *many):
            self.runner.kv.free(kv)

    def warm_up_step(self, rows: list[StepRow]) -> None:
        streams = sum(len(row.tokens) == 1 for row in rows)
        started = time.perf_counter()
        self.runner.step(rows)
        prompt_tokens = sum(len(row.tokens) for row in rows) - streams
        self.pace.observe(time.perf_counter() - started, streams, prompt_tokens)

    def close(self) -> None:
        """End what is still there."""
        with self.inbox:
            self.state = "stopped"
            calls, self.calls = self.calls, deque()
            arrivals, self.arrivals = self.arrivals, []
        for sequence in arrivals:
            self.scheduler.add(sequence)
        for sequence in list(self.requests.values()):
            self.emit(sequence, sequence.end("error", "The engine was stopped."))
        self.wakeups.send()
        for _, future in calls:
            future.set_exception(EngineStopped())
