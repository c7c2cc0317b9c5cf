from datetime import timedelta

from celery import shared_task
from django.core.management import call_command
from django.utils import timezone

from workspace.models import DeviceLogin

DEVICE_LOGINS_KEPT = timedelta(days=1)


@shared_task
def clear_expired_logins() -> None:
    """Delete the sessions of logins that have run out, and the device logins of yesterday."""
    call_command("clearsessions")
    DeviceLogin.objects.filter(expires_at__lt=timezone.now() - DEVICE_LOGINS_KEPT).delete()
