from celery import shared_task
from django.core.management import call_command


@shared_task
def clear_expired_logins() -> None:
    """Delete the sessions of logins that have run out."""
    call_command("clearsessions")
