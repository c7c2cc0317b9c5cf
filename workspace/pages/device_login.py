"""The page where a person approves or denies a command-line login (RFC 8628, section 3.3)."""

from datetime import timedelta
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from workspace.audit import audit
from workspace.identity import SESSION_WORKSPACE, Caller
from workspace.models import AuditEntry, DeviceLogin, User, Workspace

WRONG_CODE = "device_login.wrong_code"
WRONG_CODES_ALLOWED = 10
WRONG_CODES_WINDOW = timedelta(minutes=10)


@login_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def device_login(request: HttpRequest) -> HttpResponse:
    """Ask for a code, show whose login it is, and take the decision."""
    user = request.user
    assert isinstance(user, User)
    typed = (request.POST if request.method == "POST" else request.GET).get("user_code", "").strip()
    if not typed:
        return page(request)
    if has_guessed_too_often(user):
        return page(request, 429, error="Too many wrong codes. Wait ten minutes, then start the login again.")
    login = DeviceLogin.awaiting(typed)
    if login is None:
        audit(request, Caller("session", user), WRONG_CODE, None)
        return page(request, 404, typed=typed, error="No login waits under this code. Compare it with your terminal.")
    workspaces = Workspace.objects.filter(members=user)
    if request.method != "POST":
        return confirmation(request, login, workspaces)
    return decide(request, user, login, workspaces)


def decide(request: HttpRequest, user: User, login: DeviceLogin, workspaces: Any) -> HttpResponse:
    decision = request.POST.get("decision")
    if decision == "deny":
        with transaction.atomic():
            if login.deny(user):
                audit(request, Caller("session", user), "device_login.deny", login, client=login.client_name)
        return page(request, done="Denied. The command line has no access.")
    chosen = next((each for each in workspaces if str(each.pk) == request.POST.get("workspace")), None)
    if decision != "approve" or chosen is None:
        return confirmation(request, login, workspaces, 400, error="Choose one of your workspaces.")
    with transaction.atomic():
        if not login.approve(user, chosen):
            return page(request, 409, error="This login was decided or expired meanwhile. Start it again.")
        login.workspace = chosen
        audit(request, Caller("session", user), "device_login.approve", login, client=login.client_name)
    return page(request, done=f"{login.client_name} may now act as {user.email} in {chosen.name}. Close this page.")


def confirmation(
    request: HttpRequest, login: DeviceLogin, workspaces: Any, status: int = 200, **context: Any
) -> HttpResponse:
    chosen = request.session.get(SESSION_WORKSPACE)
    return page(request, status, login=login, workspaces=workspaces, chosen=chosen, **context)


def page(request: HttpRequest, status: int = 200, **context: Any) -> HttpResponse:
    return render(request, "workspace/cli.html", context, status=status)


def has_guessed_too_often(user: User) -> bool:
    since = timezone.now() - WRONG_CODES_WINDOW
    return AuditEntry.objects.filter(user=user, action=WRONG_CODE, at__gt=since).count() >= WRONG_CODES_ALLOWED
