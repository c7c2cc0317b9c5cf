from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST

from inference.metrics import exposition
from workspace.identity import identify


async def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' scrape target; it needs a key wherever the runtime does."""
    if not settings.LAB_OPEN_LOOPBACK:
        await sync_to_async(identify)(request)
    return HttpResponse(exposition(), content_type=CONTENT_TYPE_LATEST)
