from typing import Any

from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from inference.runtime import LORA_MODE, VERSION, runtime


@csrf_exempt  # so that an unsafe method is answered with 405
@require_safe
async def health(request: HttpRequest) -> JsonResponse:
    """200 once a chat request can be served, 503 before and while draining."""
    engine = runtime.engine
    ready = runtime.ready.is_set() and engine is not None
    stats: Any = engine.stats() if engine is not None else None
    return JsonResponse(
        {
            "status": "ok" if ready else "unavailable",
            "model": runtime.model_name,
            "max_active_loras": stats.max_active_loras if stats else 0,
            "loaded_loras": stats.slots_used if stats else 0,
            "lora_mode": LORA_MODE,
            "version": VERSION,
        },
        status=200 if ready else 503,
    )
