"""What is left to do when an adapter's time is up. That nothing is served through it is admission's doing."""

import logging
from datetime import timedelta

from django.db.models.functions import Now

from inference import adapters, sessions
from workspace.errors import ApiError
from workspace.models import Adapter, AdapterPlacement, AdapterState, Internalization
from workspace.models.adapters import ADMITTED_BEFORE

log = logging.getLogger(__name__)

GRACE = timedelta(hours=1)
LEFT_OVER = timedelta(days=1)


def end_now(adapter: Adapter) -> bool:
    """Let its time be up. False: it was already."""
    ended = Adapter.objects.filter(pk=adapter.pk).unexpired().update(expires_at=Now())
    mark_documents()
    return bool(ended)


def unload_from_servers() -> None:
    """From all but this node's engine, which its server looks after."""
    on_servers = AdapterPlacement.objects.exclude(backend=adapters.LOCAL).filter(
        state=AdapterState.LOADED, adapter__in=Adapter.objects.expired(ADMITTED_BEFORE)
    )
    for placement in on_servers.select_related("adapter__workspace"):
        adapter = placement.adapter
        try:
            adapters.unload(adapter, [placement.backend])
        except ApiError as error:
            log.info("the expired adapter %s is not unloaded yet: %s", adapter.adapter_id, error.message)


def mark_documents() -> None:
    Internalization.objects.filter(status=Internalization.Status.READY, adapter__expires_at__lte=Now()).update(
        status=Internalization.Status.EXPIRED
    )


def delete_weights() -> None:
    """Remove the files of adapters that expired a while ago; the rows stay, and so does what was billed on them."""
    for adapter in Adapter.objects.expired(GRACE).filter(weights_deleted_at=None):
        Adapter.objects.filter(pk=adapter.pk).update(weights_deleted_at=Now())
        adapters.discard(adapter.content_hash)


def sweep_leftovers() -> None:
    """Remove what a killed process left in the store, unfinished copies and files that nothing names, and what is only
    remembered of ended sessions."""
    sessions.forget_old()
    adapters.files().sweep_unfinished(LEFT_OVER)
    for content_hash in adapters.files().older_than(LEFT_OVER):
        adapters.discard(content_hash)
