"""Signing in and out with email and password; guessing is slowed down."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils import timezone

from workspace.audit import origin_of
from workspace.models import AuditEntry, User

FAILED = "sign_in.fail"
WINDOW = timedelta(minutes=10)
FAILURES_OF_ACCOUNT = 10  # from one address
FAILURES_OF_ADDRESS = 50


class SignInForm(AuthenticationForm):
    username = forms.EmailField(label="Email", widget=forms.EmailInput(attrs={"autocomplete": "username"}))
    error_messages = {
        "invalid_login": "Email and password do not match.",
        "inactive": "Email and password do not match.",
        "too_many": "Too many failed sign-ins. Wait ten minutes, then try again.",
    }

    def clean(self) -> dict[str, Any]:
        """
        Raises:
            ValidationError: wrong, or too many wrong ones before it, whether or not this one is right.
        """
        assert self.request is not None
        typed = self.cleaned_data.get("username", "")
        user = User.objects.filter(email__iexact=typed).first()
        if has_failed_too_often(self.request, user, typed):
            raise ValidationError(self.error_messages["too_many"], code="too_many")
        try:
            return super().clean()
        except ValidationError:
            note_failure(self.request, user, typed)
            raise


def has_failed_too_often(request: HttpRequest, user: User | None, typed: str) -> bool:
    failures = AuditEntry.objects.filter(action=FAILED, at__gt=timezone.now() - WINDOW, ip=origin_of(request)["ip"])
    return (
        failures.filter(user=user, actor=typed.lower()).count() >= FAILURES_OF_ACCOUNT
        or failures.count() >= FAILURES_OF_ADDRESS
    )


def note_failure(request: HttpRequest, user: User | None, typed: str) -> None:
    AuditEntry.objects.create(
        actor=typed.lower()[:300], user=user, action=FAILED, source=AuditEntry.Source.PAGE, **origin_of(request)
    )


class SignIn(LoginView):
    form_class = SignInForm
    template_name = "workspace/sign_in.html"
    redirect_authenticated_user = False

    def form_valid(self, form: AuthenticationForm) -> Any:
        user = form.get_user()
        AuditEntry.objects.create(
            actor=user.email,
            user=user,
            action="sign_in.succeed",
            source=AuditEntry.Source.PAGE,
            **origin_of(self.request),
        )
        return super().form_valid(form)
