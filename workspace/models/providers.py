import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone

from workspace.encryption import decrypt, encrypt
from workspace.models.workspaces import Workspace

SHOWN_CHARACTERS = 4


class ProviderCredential(models.Model):
    """A workspace's own key at a cloud provider. The secret is encrypted at rest and never shown again."""

    class Status(models.TextChoices):
        PENDING = "pending"
        VALID = "valid"
        INVALID = "invalid"
        UNREACHABLE = "unreachable"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="provider_credentials")
    provider = models.CharField(max_length=50)
    label = models.CharField(max_length=100)
    base_url = models.CharField(max_length=500, blank=True, help_text="Empty: the provider's own.")
    encrypted_secret = models.BinaryField(editable=False)
    last_characters = models.CharField(max_length=SHOWN_CHARACTERS, editable=False)
    status = models.CharField(max_length=12, choices=Status.choices, default=Status.PENDING)
    last_verified_at = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=500, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("provider", "label")
        constraints = (
            models.UniqueConstraint(fields=("workspace", "provider", "label"), name="provider_credential_unique_label"),
            models.CheckConstraint(
                condition=models.Q(status__in=["pending", "valid", "invalid", "unreachable"]),
                name="provider_credential_status_known",
            ),
        )

    def __str__(self) -> str:
        return f"{self.provider}: {self.label}"

    @property
    def secret(self) -> str:
        """
        Raises:
            SecretUnreadable: it was stored under another encryption key.
        """
        return decrypt(self.encrypted_secret)

    @secret.setter
    def secret(self, secret: str) -> None:
        self.encrypted_secret = encrypt(secret)
        self.last_characters = secret[-SHOWN_CHARACTERS:]

    def note_verdict(self, status: Status, error: str = "") -> None:
        self.status, self.last_error, self.last_verified_at = status, error, timezone.now()
        self.save(update_fields=["status", "last_error", "last_verified_at"])

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.pk,
            "provider": self.provider,
            "label": self.label,
            "base_url": self.base_url or None,
            "masked_secret": f"…{self.last_characters}",
            "status": self.status,
            "last_verified_at": self.last_verified_at,
            "last_error": self.last_error or None,
            "created_at": self.created_at,
        }
