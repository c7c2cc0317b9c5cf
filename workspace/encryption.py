"""Secrets that must be read again are kept encrypted (Fernet: AES-128-CBC with HMAC-SHA256)."""

from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


class SecretUnreadable(Exception):
    """A stored secret was encrypted under another key."""


@lru_cache(maxsize=1)
def fernet() -> Fernet:
    """The installation's key: `LAB_ENCRYPTION_KEY`, or the one kept in `LAB_HOME/encryption_key`."""
    try:
        return Fernet(settings.LAB_ENCRYPTION_KEY or settings.HOME.encryption_key())
    except ValueError as error:
        raise ImproperlyConfigured(
            "The encryption key must be 32 bytes in URL-safe base64, as cryptography's Fernet.generate_key() makes."
        ) from error


def encrypt(secret: str) -> bytes:
    return fernet().encrypt(secret.encode())


def decrypt(stored: bytes | memoryview) -> str:
    """
    Raises:
        SecretUnreadable: the key is not the one it was encrypted under.
    """
    try:
        return fernet().decrypt(bytes(stored)).decode()
    except InvalidToken:
        raise SecretUnreadable("This secret was stored under another encryption key; store it anew.") from None
