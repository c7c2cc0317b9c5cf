from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from workspace.identity import Caller, Principal, identify, identify_caller
from workspace.models import User


class PrincipalAuthentication(BaseAuthentication):
    """DRF's door to `identify`: views find the `Principal` in `request.auth`."""

    def authenticate(self, request: Request) -> tuple[User | AnonymousUser, Principal]:
        principal = identify(request._request)
        return principal.user or AnonymousUser(), principal

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class CallerAuthentication(PrincipalAuthentication):
    """The door to `identify_caller`, for views that need no workspace: `request.auth` is the `Caller`."""

    def authenticate(self, request: Request) -> tuple[User | AnonymousUser, Caller]:  # type: ignore[override]
        caller = identify_caller(request._request)
        return caller.user or AnonymousUser(), caller
