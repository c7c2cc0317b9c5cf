"""Who a request acts as: one answer for the REST API, the OpenAI surface and the pages."""

import uuid
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from rest_framework.authentication import CSRFCheck

from workspace.errors import ApiError, unauthenticated
from workspace.models import ApiKey, CliToken, Membership, Role, User, Workspace

WORKSPACE_HEADER = "x-business-profile-id"
SESSION_WORKSPACE = "workspace_id"


@dataclass(frozen=True)
class Principal:
    """The workspace a request acts in, the role it has there, and the credential that gave it."""

    workspace: Workspace
    role: Role
    via: Literal["api_key", "cli_token", "session", "open_loopback"]
    user: User | None = None
    api_key: ApiKey | None = None
    cli_token: CliToken | None = None


@dataclass(frozen=True)
class Caller:
    """Whose credential a request carries, in whatever workspace."""

    via: Literal["api_key", "cli_token", "session"]
    user: User | None = None
    api_key: ApiKey | None = None
    cli_token: CliToken | None = None


def identify_caller(request: HttpRequest) -> Caller:
    """Authenticate a request that needs no workspace: what a person asks before choosing one.

    Raises:
        ApiError: 401 without a valid credential.
    """
    secret = bearer_secret(request)
    if secret is None:
        if not request.user.is_authenticated:
            raise unauthenticated("This needs a login: send 'Authorization: Bearer stim_cli_…'.", "missing_api_key")
        refuse_forgery(request)
        return Caller("session", request.user)
    if secret.startswith(CliToken.kind):
        token = live_token(secret)
        return Caller("cli_token", token.user, cli_token=token)
    return Caller("api_key", api_key=from_secret(request, secret).api_key)


def identify(request: HttpRequest) -> Principal:
    """Authenticate a request.

    In order: a bearer secret, a Django session, and on an open loopback server the first workspace.

    Raises:
        ApiError: 401 without a valid credential, 403 for a workspace or an address the credential may not use.
    """
    secret = bearer_secret(request)
    if secret is not None:
        return from_secret(request, secret)
    if request.user.is_authenticated:
        refuse_forgery(request)
        return for_user(request.user, request.headers.get(WORKSPACE_HEADER) or chosen(request), "session")
    if settings.LAB_OPEN_LOOPBACK and request.path_info.startswith(("/v1/", "/api/v1/hybrie/")):
        return as_first_workspace(request)
    raise unauthenticated("This needs a key: send 'Authorization: Bearer hyb_…'.", "missing_api_key")


def bearer_secret(request: HttpRequest) -> str | None:
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, secret = header.partition(" ")
    if scheme.lower() != "bearer":
        raise unauthenticated("Authorization must be 'Bearer hyb_…' or 'Bearer stim_cli_…'.")
    return secret.strip()


def from_secret(request: HttpRequest, secret: str) -> Principal:
    if secret.startswith(ApiKey.kind):
        return from_api_key(request, secret)
    if secret.startswith(CliToken.kind):
        token = live_token(secret)
        wanted = request.headers.get(WORKSPACE_HEADER) or str(token.workspace_id)
        return for_user(token.user, wanted, "cli_token", token)
    raise unauthenticated("The bearer secret must start with 'hyb_' or 'stim_cli_'.")


def live_token(secret: str) -> CliToken:
    token = CliToken.find(secret)
    if token is None or not token.is_live:
        raise unauthenticated("This CLI token is unknown, revoked or expired; log in again.")
    token.note_use()
    return token


def from_api_key(request: HttpRequest, secret: str) -> Principal:
    key = ApiKey.find(secret)
    principal = by_key(key, request)
    if key is not None:
        key.note_use()
    return principal


def api_key_secret(request: HttpRequest) -> str | None:
    """The API key that the request presents, unchecked; None if it presents another credential, or none.

    Raises:
        ApiError: as `identify`, where the header cannot be read.
    """
    secret = bearer_secret(request)
    return secret if secret is not None and secret.startswith(ApiKey.kind) else None


def by_key(key: ApiKey | None, request: HttpRequest) -> Principal:
    """Who a request with this key acts as. Asks the database only of a key that was made from a login.

    Raises:
        ApiError: as `identify`.
    """
    if key is None or key.revoked_at:
        raise unauthenticated("This API key is unknown or revoked.")
    if key.has_outlived_its_login:
        raise unauthenticated("The login that this API key was made from has ended.")
    if key.is_expired:
        raise unauthenticated("This API key has expired.", "api_key_expired")
    address = request.META.get("REMOTE_ADDR", "")
    if not key.allows(address):
        raise ApiError(403, "ip_not_allowed", f"This API key may not be used from {address}.")
    return Principal(key.workspace, Role.MEMBER, "api_key", api_key=key)


def for_user(
    user: User, wanted: str | None, via: Literal["cli_token", "session"], token: CliToken | None = None
) -> Principal:
    """The user in the workspace `wanted` (an id), or in their first one."""
    memberships = Membership.objects.filter(user=user).select_related("workspace").order_by("created_at")
    if wanted is not None:
        try:
            memberships = memberships.filter(workspace_id=uuid.UUID(wanted))
        except ValueError:
            memberships = memberships.none()
    membership = memberships.first()
    if membership is None:
        raise ApiError(403, "workspace_forbidden", "You are not a member of this workspace.", WORKSPACE_HEADER)
    return Principal(membership.workspace, Role(membership.role), via, user=user, cli_token=token)


def chosen(request: HttpRequest) -> str | None:
    return request.session.get(SESSION_WORKSPACE)


def refuse_forgery(request: HttpRequest) -> None:
    """A session is only taken with its CSRF token (unsafe methods), since browsers send cookies by themselves."""
    check = CSRFCheck(lambda _: HttpResponse())
    check.process_request(request)
    if reason := check.process_view(request, lambda _: HttpResponse(), (), {}):
        raise ApiError(403, "csrf_failed", f"CSRF check failed: {reason}")


def as_first_workspace(request: HttpRequest) -> Principal:
    """The open loopback identity. A page of another site open in the same browser must not get it."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.get_host():
        raise unauthenticated("Without a key, requests from another site's pages are refused.", "missing_api_key")
    workspace = Workspace.first()
    if workspace is None:
        raise unauthenticated("There is no workspace yet; start the server with 'manage.py serve'.")
    return Principal(workspace, Role.OWNER, "open_loopback")
