"""Sessions tie adapters together: when one ends, all of its adapters do, those that are still being made too.

Ending one takes the session's lock alone; whoever registers an adapter of it shares that lock, and looks first whether
the session has ended since the adapter was asked for. So whichever comes second knows of the other.
"""

from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now

from workspace.errors import ApiError
from workspace.locks import lock
from workspace.models import Adapter, EndedSession, Internalization, Workspace

REMEMBERED = timedelta(days=1)  # longer than a request may take
Status = Internalization.Status


def present() -> datetime:
    """By the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]


def hold(workspace: Workspace, session_key: str) -> None:
    """Keep the session from ending until the transaction does."""
    lock(name_of(workspace, session_key), shared=True)


def refuse_ended(workspace: Workspace, session_key: str, since: datetime) -> None:
    """Keep the session from ending until the transaction does, if it has not ended since then.

    Raises:
        ApiError: 410 `adapter_expired`.
    """
    hold(workspace, session_key)
    if EndedSession.objects.filter(workspace=workspace, session_key=session_key, ended_at__gte=since).exists():
        message = f"The session {session_key!r} ended while the document was being internalized; send it again."
        raise ApiError(410, "adapter_expired", message, "session_key")


@transaction.atomic
def end(workspace: Workspace, session_key: str) -> list[str]:
    """Expire all adapters of a session, and give up what is still being made for it; returns the adapters' ids."""
    lock(name_of(workspace, session_key))
    EndedSession.objects.update_or_create(
        workspace=workspace, session_key=session_key, defaults={"ended_at": present()}
    )
    living = Adapter.objects.filter(workspace=workspace, session_key=session_key).unexpired().select_for_update()
    ids = dict(living.values_list("pk", "adapter_id"))
    Adapter.objects.filter(pk__in=ids).update(expires_at=Now())
    of_session = Internalization.objects.filter(workspace=workspace, session_key=session_key)
    over = Q(status=Status.RUNNING) | Q(status=Status.READY, adapter__in=ids)
    of_session.filter(over).update(status=Status.EXPIRED, document_text="", content_hash="")
    return list(ids.values())


def forget_old() -> None:
    """Drop what no request that is still running can ask for."""
    EndedSession.objects.filter(ended_at__lt=Now() - REMEMBERED).delete()


def name_of(workspace: Workspace, session_key: str) -> str:
    return f"session {workspace.pk} {session_key}"
