from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from workspace.authentication import CallerAuthentication
from workspace.errors import ApiError
from workspace.identity import Caller
from workspace.models import User


class CallerView(APIView):
    """A view about the caller itself: it needs no workspace, and any role may use it."""

    authentication_classes = (CallerAuthentication,)
    permission_classes = (AllowAny,)  # the authentication refuses whoever it does not know

    def caller(self, request: Request) -> Caller:
        assert isinstance(request.auth, Caller)
        return request.auth

    def person(self, request: Request) -> User:
        """The user behind the request: an API key has none.

        Raises:
            ApiError: 403 for an API key.
        """
        user = self.caller(request).user
        if user is None:
            raise ApiError(403, "user_required", "This needs a person: use a CLI token or sign in, not an API key.")
        return user
