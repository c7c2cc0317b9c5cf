"""Inviting people, and the page that an invitation's link leads to."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from workspace.audit import audit
from workspace.identity import SESSION_WORKSPACE, Caller, Principal
from workspace.models import Invitation, Role, User
from workspace.pages.door import page

EXISTS = "There is an account of this email meanwhile: sign in, and open the link again."


class FirstPassword(forms.Form):
    password = forms.CharField(strip=False, max_length=200)
    again = forms.CharField(strip=False, max_length=200)

    def __init__(self, user: User, data: Any = None) -> None:
        super().__init__(data)
        self.user = user

    def clean(self) -> dict[str, Any]:
        typed = super().clean() or {}
        if typed.get("password") != typed.get("again"):
            self.add_error("again", "The two passwords differ.")
        return typed

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        validate_password(password, self.user)
        return password


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Show who is invited to what. POST joins, as the one who is signed in or with a new account."""
    found = Invitation.of_token(token)
    if found is None:
        return over(request)
    user = User.objects.filter(email__iexact=found.email).first()
    if user is None and request.user.is_anonymous:
        return with_new_account(request, found)
    if user is None or request.user != user:
        return answer(request, found, is_another=True, status=403 if request.method == "POST" else 200)
    if request.method == "POST":
        return join(request, found, user)
    return answer(request, found, may_join=True)


def with_new_account(request: HttpRequest, found: Invitation) -> HttpResponse:
    if request.method != "POST":
        return answer(request, found)
    user = User(email=User.objects.normalize_email(found.email))
    form = FirstPassword(user, request.POST)
    if not form.is_valid():
        return answer(request, found, errors=form.errors, status=400)
    user.set_password(form.cleaned_data["password"])
    try:
        user.validate_constraints()
    except ValidationError:
        return answer(request, found, errors={"password": [EXISTS]}, status=409)
    with transaction.atomic():
        if Invitation.open_ones().select_for_update().filter(pk=found.pk).first() is None:
            return over(request)
        user.save()
        return join(request, found, user)


def join(request: HttpRequest, found: Invitation, user: User) -> HttpResponse:
    membership = found.accept(user)
    if membership is None:
        return over(request)
    audit(request, Caller("session", user), "member.join", membership, email=user.email, role=membership.role)
    if request.user != user:
        login(request, user)
    request.session[SESSION_WORKSPACE] = str(found.workspace.pk)
    messages.success(request, f"Welcome to {found.workspace.name}; your role is {membership.role}.")
    return redirect("overview")


def over(request: HttpRequest) -> HttpResponse:
    return render(request, "workspace/invitation.html", status=404)


def answer(request: HttpRequest, found: Invitation, status: int = 200, **context: Any) -> HttpResponse:
    return render(request, "workspace/invitation.html", {"invitation": found, **context}, status=status)


@require_POST
@page(writes=Role.ADMIN)
def revoke_invitation(request: HttpRequest, principal: Principal, invitation_id: UUID) -> HttpResponseBase:
    found = get_object_or_404(Invitation, pk=invitation_id, workspace=principal.workspace)
    with transaction.atomic():
        if found.revoke():
            audit(request, principal, "member.uninvite", found, email=found.email)
    messages.success(request, f"The invitation of {found.email} no longer works.")
    return redirect("members")
