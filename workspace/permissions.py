from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from workspace.errors import ApiError
from workspace.identity import Principal
from workspace.models import Role

if TYPE_CHECKING:
    from rest_framework.views import APIView


def require(principal: Principal, needed: Role) -> None:
    """Refuse with 403 a principal whose role does not cover `needed`."""
    if not principal.role.covers(needed):
        raise ApiError(
            403, "role_insufficient", f"This needs the role {needed.value}; yours is {principal.role.value}."
        )


def principal_of(request: Request) -> Principal:
    """Who the request acts as; `PrincipalAuthentication` put it there."""
    assert isinstance(request.auth, Principal)
    return request.auth


class HasWorkspace(BasePermission):
    """Everyone in the workspace may read; writing takes a member."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        require(principal_of(request), Role.VIEWER if request.method in SAFE_METHODS else Role.MEMBER)
        return True


class ChangedByAdmins(BasePermission):
    """Everyone in the workspace may read; changing takes an admin."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        require(principal_of(request), Role.VIEWER if request.method in SAFE_METHODS else Role.ADMIN)
        return True
