"""Cloud providers under the operator's own contract, for workspaces that bring no key."""

from django.db import models

from workspace.encryption import decrypt, encrypt
from workspace.providers import PROVIDERS


class ManagedProvider(models.Model):
    """The operator's key at a provider; every workspace may use it, and its events have the mode `mi`."""

    provider = models.CharField(max_length=50, unique=True, choices=[(name, name) for name in PROVIDERS])
    base_url = models.CharField(max_length=500, blank=True, help_text="Empty: the provider's own.")
    encrypted_secret = models.BinaryField(editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("created_at",)

    def __str__(self) -> str:
        return self.provider

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
