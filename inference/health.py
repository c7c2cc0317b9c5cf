"""The engine's and the servers' part of the admin console's first page."""

from inference.models import ComputeBackend
from inference.runtime import runtime
from workspace.health import Health, part


@part
def engine() -> Health:
    running = runtime.engine
    if running is None:
        return Health("Engine", False, "no model is loaded in this process")
    stats = running.stats()
    return Health(
        "Engine",
        runtime.ready.is_set(),
        f"{runtime.model_name}: {stats.running} running, {stats.queue_depth} waiting;"
        f" {stats.slots_used} of {stats.max_active_loras} adapter slots;"
        f" {stats.kv_used_tokens} of {stats.kv_capacity_tokens} tokens cached",
    )


@part
def servers() -> Health:
    """Compute peers and vLLM servers of all workspaces; down if one of them is."""
    rows = ComputeBackend.objects.values_list("name", "reachable")
    away = [name for name, reachable in rows if not reachable]
    if not rows:
        return Health("Peers and servers", True, "none is registered")
    facts = f"{len(rows) - len(away)} of {len(rows)} reachable"
    return Health("Peers and servers", not away, f"{facts}; not {', '.join(away)}" if away else facts)
