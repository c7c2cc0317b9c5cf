"""Numbers about a running engine."""

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class EngineStats:
    """Gauges of this moment, then counters since the start.

    Attributes:
        queue_depth: requests that wait.
        running: requests that have a place in the steps.
        kv_used_tokens, kv_capacity_tokens: room taken in the KV cache, and all there is.
        prefix_used_tokens, prefix_capacity_tokens: the same of the prefix cache.
        rows: of all steps together; divided by `steps` the mean batch size.
        prompt_tokens: computed, those computed anew after a preemption included.
        cached_tokens: of prompts, found in the prefix cache.
        finished: requests by finish reason.
    """

    queue_depth: int
    running: int
    kv_used_tokens: int
    kv_capacity_tokens: int
    prefix_used_tokens: int
    prefix_capacity_tokens: int
    max_active_loras: int
    slots_used: int
    slots_free: int
    steps: int
    rows: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    preemptions: int
    adapter_loads: int
    adapter_evictions: int
    finished: dict[str, int]


class Counters:
    """What an engine counts itself; written on its thread only."""

    def __init__(self) -> None:
        self.steps = 0
        self.rows = 0
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.completion_tokens = 0
        self.finished: Counter[str] = Counter()
