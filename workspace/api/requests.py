"""What the views of the console plane read from a request."""

from rest_framework.request import Request

from workspace.errors import ApiError, invalid
from workspace.models import CliToken
from workspace.permissions import principal_of

FLAGS = {"true": True, "1": True, "false": False, "0": False}


def login_of(request: Request) -> CliToken:
    """The CLI token that the request carries.

    Raises:
        ApiError: 403 for any other credential.
    """
    token = principal_of(request).cli_token
    if token is None:
        raise ApiError(403, "cli_token_required", "This is for a command line: use a CLI token.")
    return token


def flag(request: Request, name: str) -> bool:
    """A query parameter that is true or false; absent is false."""
    value = request.query_params.get(name, "false").lower()
    if value not in FLAGS:
        raise invalid(name, f"{name} must be true or false.")
    return FLAGS[value]


def number(request: Request, name: str, default: int, lowest: int, highest: int) -> int:
    """A query parameter that is a whole number from `lowest` to `highest`."""
    value = request.query_params.get(name, str(default))
    if not (value.isascii() and value.isdigit() and lowest <= int(value[:20]) <= highest):
        raise invalid(name, f"{name} must be a whole number from {lowest} to {highest}.")
    return int(value)
