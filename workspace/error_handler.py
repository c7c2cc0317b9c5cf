from collections.abc import Mapping
from typing import Any

from rest_framework import exceptions as drf
from rest_framework.response import Response
from rest_framework.views import set_rollback

from workspace.errors import as_api_error


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """DRF's handler: the same envelope as everywhere else. None leaves a fault of ours to the middleware."""
    api_error = as_api_error(error)
    if api_error is None:
        return None
    set_rollback()
    headers = {**api_error.headers}
    if isinstance(error, drf.MethodNotAllowed) and (view := context.get("view")):
        headers["Allow"] = ", ".join(view.allowed_methods)
    return Response(api_error.to_dict(), status=api_error.status, headers=headers)
