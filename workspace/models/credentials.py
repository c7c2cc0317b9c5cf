"""API keys and CLI tokens: stored hashed, shown once, compared in constant time."""

import hashlib
import hmac
import ipaddress
import secrets
import uuid
from datetime import timedelta
from typing import Any, ClassVar, Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from workspace.models.workspaces import Workspace

PREFIX_LENGTH = 8
TOKEN_SHOWN = 4  # what the command line remembers of its token, to find it again in the list
LAST_USED_RESOLUTION = timedelta(minutes=1)


def digest(secret: str) -> str:
    """SHA-256 in hex. The secrets are 256 random bits, so no slow password hash is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Secret(models.Model):
    """A bearer secret `<kind><random>`. Its first characters after the kind find the row; the hash decides."""

    kind: ClassVar[str]

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=200)
    prefix = models.CharField(max_length=PREFIX_LENGTH, db_index=True, editable=False)
    hash = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        abstract = True
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.name} ({self.kind}{self.prefix}…)"

    def issue(self) -> str:
        """Draw a new secret, save its hash, and return it: the only time it can be read."""
        random = secrets.token_urlsafe(32)
        secret = f"{self.kind}{random}"
        self.prefix, self.hash = random[:PREFIX_LENGTH], digest(secret)
        self.save()
        return secret

    @classmethod
    def find(cls, secret: str) -> Self | None:
        """The row of a presented secret, whether or not it may still be used."""
        rows = cls._default_manager.select_related("workspace").filter(prefix=cls.prefix_of(secret))
        return next((row for row in rows if row.is_of(secret)), None)

    @classmethod
    def prefix_of(cls, secret: str) -> str:
        """What rows are found by."""
        return secret.removeprefix(cls.kind)[:PREFIX_LENGTH]

    def is_of(self, secret: str) -> bool:
        """Whether this is the row of a presented secret; compared in constant time."""
        return hmac.compare_digest(self.hash, digest(secret))

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()

    @property
    def status(self) -> str:
        if self.revoked_at:
            return "revoked"
        return "expired" if self.is_expired else "active"

    def revoke(self) -> None:
        self.revoked_at = self.revoked_at or timezone.now()
        self.save(update_fields=["revoked_at"])

    def note_use(self) -> None:
        """Remember the use, to the minute, so that a busy key is not a busy row."""
        if self.use_is_news:
            self.last_used_at = timezone.now()
            self.save(update_fields=["last_used_at"])

    @property
    def use_is_news(self) -> bool:
        return self.last_used_at is None or timezone.now() - self.last_used_at > LAST_USED_RESOLUTION


class ApiKey(Secret):
    """A key for applications, pinned to one workspace."""

    kind = "hyb_"

    class Environment(models.TextChoices):
        PROD = "prod"
        STAGING = "staging"
        DEV = "dev"

    class ResetPeriod(models.TextChoices):
        DAILY = "daily"
        WEEKLY = "weekly"
        MONTHLY = "monthly"

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="api_keys")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    env = models.CharField(max_length=10, choices=Environment.choices, default=Environment.PROD)
    credit_limit_pence = models.PositiveBigIntegerField(null=True, blank=True)
    credit_limit_reset_period = models.CharField(max_length=10, choices=ResetPeriod.choices, blank=True)
    ip_allowlist = ArrayField(models.CharField(max_length=64), default=list, blank=True)
    login = models.ForeignKey(
        "CliToken",
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="session_keys",
        help_text="A key of one command-line session: it ends with the login it was made from.",
    )
    runtime_session_id = models.CharField(max_length=200, blank=True, db_index=True)

    class Meta(Secret.Meta):
        constraints = (
            models.CheckConstraint(condition=models.Q(env__in=["prod", "staging", "dev"]), name="apikey_env_known"),
            models.CheckConstraint(
                condition=models.Q(credit_limit_reset_period__in=["", "daily", "weekly", "monthly"]),
                name="apikey_reset_period_known",
            ),
        )

    def allows(self, address: str) -> bool:
        """Whether a request from this IP address may use the key; an empty allow-list admits every address."""
        if not self.ip_allowlist:
            return True
        try:
            caller = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(caller in ipaddress.ip_network(network, strict=False) for network in self.ip_allowlist)

    @property
    def has_outlived_its_login(self) -> bool:
        login = self.login
        return login is not None and not (
            login.is_live and login.user.memberships.filter(workspace=self.workspace_id).exists()
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.pk,
            "name": self.name,
            "prefix": f"{self.kind}{self.prefix}",
            "env": self.env,
            "status": self.status,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "revoked_at": self.revoked_at,
            "last_used_at": self.last_used_at,
            "credit_limit_pence": self.credit_limit_pence,
            "credit_limit_reset_period": self.credit_limit_reset_period or None,
            "ip_allowlist": self.ip_allowlist,
        }


class CliToken(Secret):
    """A token for the command line: acts as its user, in `workspace` unless a request names another."""

    kind = "stim_cli_"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="cli_tokens")
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")

    @property
    def is_live(self) -> bool:
        return self.status == "active" and self.user.is_active

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.pk,
            "name": self.name,
            "prefix": f"{self.kind}{self.prefix[:TOKEN_SHOWN]}",
            "workspace_id": self.workspace_id,
            "status": self.status,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "revoked_at": self.revoked_at,
            "last_used_at": self.last_used_at,
        }
