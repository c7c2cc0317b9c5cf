"""Who may do what in billing: any role reads its workspace; prices and corrections are the operator's."""

from rest_framework.request import Request

from workspace.errors import ApiError
from workspace.models import User
from workspace.permissions import principal_of


def require_operator(request: Request) -> User:
    """The user behind the request, who must be staff: an API key never is.

    Raises:
        ApiError: 403 otherwise.
    """
    user = principal_of(request).user
    if user is None or not user.is_staff:
        raise ApiError(403, "operator_required", "This is for the operator: sign in as a staff user.")
    return user
