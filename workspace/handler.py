"""Django as an ASGI application."""

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.base import BaseHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve

from workspace.middleware import without_slash


class Handler(ASGIHandler):
    """Runs a view that is not async in one thread, and all middleware with it.

    In Django's async chain each of its own middleware goes to a thread and back for each of its methods, a dozen times
    a request.
    """

    def __init__(self) -> None:
        super().__init__()
        self.of_threads = BaseHandler()
        self.of_threads.load_middleware()

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        if is_async(request.path_info):
            return await super().get_response_async(request)
        return await sync_to_async(self.of_threads.get_response)(request)


def is_async(path: str) -> bool:
    try:
        return iscoroutinefunction(resolve(without_slash(path)).func)
    except Resolver404:
        return False
