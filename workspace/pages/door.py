"""The door of every page: who is asking, in which workspace, and with what role."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.cache import never_cache

from workspace.errors import ApiError
from workspace.identity import Principal, chosen, for_user
from workspace.models import Membership, Role, User
from workspace.permissions import require

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, Principal, P], HttpResponseBase]
Guarded = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def page(reads: Role = Role.VIEWER, writes: Role = Role.MEMBER) -> Callable[[View[P]], Guarded[P]]:
    """Guard a view: sign-in first, then the role that a GET (`reads`) or any other method (`writes`) takes.

    What the view refuses with an `ApiError` is shown as a page with its status.
    """

    def guard(view: View[P]) -> Guarded[P]:
        @wraps(view)
        def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if not isinstance(request.user, User):
                return to_sign_in(request)
            principal = None
            try:
                principal = principal_of(request, request.user)
                require(principal, reads if request.method in ("GET", "HEAD") else writes)
                return view(request, principal, *args, **kwargs)
            except ApiError as error:
                return refused(request, principal, error)

        return never_cache(guarded)

    return guard


def principal_of(request: HttpRequest, user: User) -> Principal:
    """The user in the workspace of the session, or in their first one if they have left that."""
    try:
        return for_user(user, chosen(request), "session")
    except ApiError:
        return for_user(user, None, "session")


def to_sign_in(request: HttpRequest) -> HttpResponse:
    if request.headers.get("hx-request"):
        return HttpResponse(status=401, headers={"HX-Refresh": "true"})
    return redirect_to_login(request.get_full_path())


def show(request: HttpRequest, principal: Principal, template: str, status: int = 200, **context: Any) -> HttpResponse:
    """Render a page of the workspace. `section` in the context names the link of the navigation."""
    memberships = Membership.objects.filter(user=principal.user).select_related("workspace")
    roles = {role.value: principal.role.covers(role) for role in Role}
    frame = {"principal": principal, "may": roles, "memberships": memberships}
    return render(request, template, {**frame, **context}, status=status)


def refused(request: HttpRequest, principal: Principal | None, error: ApiError) -> HttpResponse:
    if principal is None:
        return render(request, "workspace/stop.html", {"error": error}, status=error.status)
    return show(request, principal, "workspace/refused.html", error.status, error=error)
