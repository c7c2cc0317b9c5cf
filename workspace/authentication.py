from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from workspace.identity import Principal, identify
from workspace.models import User


class PrincipalAuthentication(BaseAuthentication):
    """DRF's door to `identify`: views find the `Principal` in `request.auth`."""

    def authenticate(self, request: Request) -> tuple[User | AnonymousUser, Principal]:
        principal = identify(request._request)
        return principal.user or AnonymousUser(), principal

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"
