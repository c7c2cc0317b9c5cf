"""Device logins (RFC 8628): a command line shows a code, a person approves it on a page."""

import secrets
import uuid
from datetime import timedelta

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone

from workspace.models.credentials import CliToken, digest
from workspace.models.users import User
from workspace.models.workspaces import Membership, Workspace

LIFETIME = timedelta(minutes=10)
TOKEN_LIFETIME = timedelta(days=30)
POLL_INTERVAL_S = 5
SLOW_DOWN_S = 5
CODE_ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"  # RFC 8628, section 6.1: no vowels, so no words; 20^8 codes
CODE_LENGTH = 8


class DeviceGrantRefused(Exception):
    """`code` is the error code of RFC 8628, section 3.5."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class DeviceLogin(models.Model):
    class Status(models.TextChoices):
        PENDING = "pending"
        APPROVED = "approved"
        DENIED = "denied"
        REDEEMED = "redeemed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    device_hash = models.CharField(max_length=64, unique=True, editable=False)
    user_code = models.CharField(max_length=CODE_LENGTH, unique=True, editable=False)
    client_name = models.CharField(max_length=200)
    ip = models.GenericIPAddressField(null=True, blank=True)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PENDING)
    interval = models.PositiveIntegerField("seconds between polls", default=POLL_INTERVAL_S)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    last_polled_at = models.DateTimeField(null=True, blank=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="device_logins"
    )
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, null=True, blank=True, related_name="+")

    class Meta:
        ordering = ("-created_at",)
        indexes = (models.Index(fields=("ip", "-created_at"), name="device_login_by_ip"),)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(status__in=["pending", "approved", "denied", "redeemed"]),
                name="device_login_status_known",
            ),
        )

    def __str__(self) -> str:
        return f"{self.client_name} ({self.status})"

    @classmethod
    def start(cls, client_name: str, ip: str | None) -> tuple["DeviceLogin", str]:
        """A new login and its device code, which is stored hashed and can be read only here."""
        device_code = secrets.token_urlsafe(32)
        login = cls.objects.create(
            device_hash=digest(device_code),
            user_code="".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_LENGTH)),
            client_name=client_name,
            ip=ip,
            expires_at=timezone.now() + LIFETIME,
        )
        return login, device_code

    @classmethod
    def awaiting(cls, typed: str) -> "DeviceLogin | None":
        """The login that waits for a decision under a user code, typed in any case and with any separators."""
        code = "".join(letter for letter in typed.upper() if letter.isalnum())
        waiting = cls.objects.filter(status=cls.Status.PENDING, expires_at__gt=timezone.now())
        return waiting.filter(user_code=code).first()

    @property
    def shown_code(self) -> str:
        return f"{self.user_code[:4]}-{self.user_code[4:]}"

    @property
    def is_expired(self) -> bool:
        return self.expires_at <= timezone.now()

    def approve(self, user: User, workspace: Workspace) -> bool:
        """Let the client act as `user`, in `workspace`. False: somebody decided before, or it has expired."""
        return self.decide(self.Status.APPROVED, user, workspace)

    def deny(self, user: User) -> bool:
        return self.decide(self.Status.DENIED, user, None)

    def decide(self, status: Status, user: User, workspace: Workspace | None) -> bool:
        waiting = DeviceLogin.objects.filter(pk=self.pk, status=self.Status.PENDING, expires_at__gt=timezone.now())
        return waiting.update(status=status, user=user, workspace=workspace) == 1

    @classmethod
    def poll(cls, device_code: str) -> "DeviceLogin":
        """The approved login behind a device code.

        Raises:
            DeviceGrantRefused: `invalid_grant`, `expired_token`, `access_denied`, `slow_down` or
                `authorization_pending`.
        """
        with transaction.atomic():
            login = cls.objects.select_for_update().filter(device_hash=digest(device_code)).first()
            refusal = login.refusal() if login else "invalid_grant"
        if login is None or refusal:
            raise DeviceGrantRefused(refusal or "invalid_grant")
        return login

    def refusal(self) -> str | None:
        """Why this poll gets no token; a poll that comes too soon makes the interval longer."""
        if self.status == self.Status.REDEEMED:
            return "invalid_grant"
        if self.status == self.Status.DENIED:
            return "access_denied"
        if self.is_expired:
            return "expired_token"
        if self.status == self.Status.APPROVED:
            return None if self.approver_may_still() else "access_denied"
        now = timezone.now()
        too_soon = self.last_polled_at and now - self.last_polled_at < timedelta(seconds=self.interval)
        if too_soon:
            self.interval += SLOW_DOWN_S
        self.last_polled_at = now
        self.save(update_fields=["interval", "last_polled_at"])
        return "slow_down" if too_soon else "authorization_pending"

    def approver_may_still(self) -> bool:
        return Membership.objects.filter(user=self.user, user__is_active=True, workspace=self.workspace).exists()

    def redeem(self) -> tuple[CliToken, str]:
        """The CLI token of this approved login, and its secret. Once.

        Raises:
            DeviceGrantRefused: `invalid_grant` where another poll was first.
        """
        approved = DeviceLogin.objects.filter(pk=self.pk, status=self.Status.APPROVED)
        if not approved.update(status=self.Status.REDEEMED):
            raise DeviceGrantRefused("invalid_grant")
        token = CliToken(
            user=self.user,
            workspace=self.workspace,
            name=self.client_name,
            expires_at=timezone.now() + TOKEN_LIFETIME,
        )
        return token, token.issue()
