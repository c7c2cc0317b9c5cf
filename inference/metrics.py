"""Numbers for Prometheus (prometheus.io/docs/instrumenting/exposition_formats), in its naming conventions."""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from inference.engine.stats import EngineStats
from inference.runtime import runtime

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

registry = CollectorRegistry()
first_token = Histogram(
    "lab_time_to_first_token_seconds", "From admission to the first token.", buckets=SECONDS, registry=registry
)
inter_token = Histogram(
    "lab_inter_token_latency_seconds", "Between two pieces of an answer.", buckets=SECONDS, registry=registry
)


class EngineCollector(Collector):
    """The engine's own counts, read when they are asked for."""

    def collect(self) -> Iterator[Metric]:
        if runtime.engine is None:
            return
        stats = runtime.engine.stats()
        yield from gauges(stats)
        yield from counters(stats)


def gauges(stats: EngineStats) -> Iterator[Metric]:
    for name, text, value in (
        ("lab_queue_depth", "Requests that wait.", stats.queue_depth),
        ("lab_batch_size", "Requests in the running batch.", stats.running),
        ("lab_kv_used_tokens", "Tokens of room taken in the KV cache.", stats.kv_used_tokens),
        ("lab_kv_capacity_tokens", "Tokens that the KV cache may hold.", stats.kv_capacity_tokens),
        ("lab_adapter_slots", "Adapter slots.", stats.max_active_loras),
        ("lab_adapter_slots_used", "Adapter slots taken.", stats.slots_used),
    ):
        yield GaugeMetricFamily(name, text, value)


def counters(stats: EngineStats) -> Iterator[Metric]:
    tokens = CounterMetricFamily("lab_tokens", "Tokens by kind.", labels=["kind"])
    for kind, value in (
        ("prompt", stats.prompt_tokens),
        ("cached", stats.cached_tokens),
        ("completion", stats.completion_tokens),
    ):
        tokens.add_metric([kind], value)
    yield tokens
    finished = CounterMetricFamily("lab_requests_finished", "Requests by how they ended.", labels=["reason"])
    for reason, value in stats.finished.items():
        finished.add_metric([reason], value)
    yield finished
    for name, text, value in (
        ("lab_steps", "Forward passes.", stats.steps),
        ("lab_step_rows", "Sequences in all forward passes; over lab_steps the mean batch.", stats.rows),
        ("lab_preemptions", "Requests computed anew for want of KV room.", stats.preemptions),
        ("lab_adapter_loads", "Adapters loaded.", stats.adapter_loads),
        ("lab_adapter_evictions", "Adapters that made way for another.", stats.adapter_evictions),
    ):
        yield CounterMetricFamily(name, text, value)


registry.register(EngineCollector())


class TokenClock:
    """Times one answer's tokens as they are counted."""

    def __init__(self) -> None:
        self.last = time.perf_counter()
        self.histogram = first_token
        self.tokens = 0

    def count(self, tokens: int) -> None:
        """So many are there by now."""
        if tokens <= self.tokens:
            return
        self.tokens, now = tokens, time.perf_counter()
        self.histogram.observe(now - self.last)
        self.last, self.histogram = now, inter_token


def exposition() -> bytes:
    return generate_latest(registry)
