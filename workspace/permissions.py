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


class HasWorkspace(BasePermission):
    """Everyone in the workspace may read; writing takes a member."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        require(request.auth, Role.VIEWER if request.method in SAFE_METHODS else Role.MEMBER)
        return True
