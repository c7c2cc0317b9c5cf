"""What a server does for its own engine beside requests: it takes in what workers made, and unloads what has expired.

The engine is in this process alone, so no worker can do it. Requests do not depend on it: admission asks the
database whether an adapter has expired.
"""

import logging
import threading

from django.db import DatabaseError, connections

from inference import adapters
from inference.internalizing import take_in
from workspace.errors import ApiError
from workspace.models import Adapter, AdapterPlacement, AdapterState, Internalization
from workspace.models.adapters import ADMITTED_BEFORE

log = logging.getLogger(__name__)

EVERY_S = 0.5


class Housekeeping:
    """A thread that runs from `start` to `stop`."""

    def __init__(self) -> None:
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.run, name="housekeeping", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self.ending.set()
        self.thread.join()

    def run(self) -> None:
        while not self.ending.wait(EVERY_S):
            try:
                take_in_made()
                unload_expired()
            except DatabaseError as error:
                log.warning("housekeeping waits for the database: %s", str(error).partition("\n")[0])
            except Exception:  # a full disk, say, must not end it
                log.exception("housekeeping failed; it tries again")
            finally:
                connections.close_all()


def take_in_made() -> None:
    made = Internalization.objects.filter(status=Internalization.Status.RUNNING).exclude(content_hash="")
    for row in made:
        take_in(row)


def unload_expired() -> None:
    """Free the slots of adapters whose time is up; requests that run through them finish first, which others do not
    wait for."""
    loaded = Adapter.objects.expired(ADMITTED_BEFORE).filter(
        placements__backend=adapters.LOCAL, placements__state=AdapterState.LOADED
    )
    for adapter in loaded:
        AdapterPlacement.objects.filter(adapter=adapter, backend=adapters.LOCAL).update(state=AdapterState.UNLOADING)
        threading.Thread(target=unload, args=[adapter], name=f"unload-{adapter}", daemon=True).start()


def unload(adapter: Adapter) -> None:
    try:
        adapters.unload(adapter, [adapters.LOCAL])
    except ApiError as error:
        log.info("the expired adapter %s is not unloaded: %s", adapter.adapter_id, error.message)
    finally:
        connections.close_all()
