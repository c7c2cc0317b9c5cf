"""Where requests may run besides the engine of this node: compute peers and vLLM servers."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.core.validators import RegexValidator
from django.db import models, transaction
from django.utils import timezone

from workspace.encryption import decrypt, encrypt
from workspace.models import Workspace
from workspace.models.adapters import timestamp

BACKEND_NAME = r"[A-Za-z0-9._-]{1,100}"
FAILURES_TO_OPEN = 3
FIRST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(seconds=60)
HEALTH = ("reachable", "failures", "open_until", "checked_at", "last_error", "served_models")


class ComputeBackend(models.Model):
    """A server of a workspace's own that answers in the OpenAI shape, with its circuit breaker.

    After `FAILURES_TO_OPEN` failures in a row the circuit opens: nothing is sent until a health check succeeds, and
    the checks pause, longer with each further failure.
    """

    class Kind(models.TextChoices):
        PEER = "peer", "compute peer"
        VLLM = "vllm", "vLLM server"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="compute_backends")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    name = models.CharField(max_length=100, validators=[RegexValidator(f"^{BACKEND_NAME}$")])
    http_url = models.CharField(max_length=500, help_text="Without /v1, such as http://10.0.0.5:8080.")
    grpc_peer = models.CharField(max_length=500, blank=True)
    realtime_peer_url = models.CharField(max_length=500, blank=True)
    encrypted_api_key = models.BinaryField(null=True, editable=False)
    adapter_folder = models.CharField(
        max_length=500, blank=True, help_text="Where a vLLM server finds this node's adapter files; empty: as here."
    )
    served_models = ArrayField(models.CharField(max_length=300), default=list, blank=True)
    reachable = models.BooleanField(default=False, help_text="Requests are sent to it.")
    failures = models.PositiveIntegerField(default=0, help_text="In a row.")
    open_until = models.DateTimeField(null=True, blank=True, help_text="Until then it is not checked.")
    checked_at = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("created_at", "id")
        constraints = (
            models.UniqueConstraint(fields=("workspace", "name"), name="compute_backend_name_unique"),
            models.CheckConstraint(condition=models.Q(kind__in=["peer", "vllm"]), name="compute_backend_kind_known"),
            models.CheckConstraint(condition=~models.Q(name="local"), name="compute_backend_not_local"),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.get_kind_display()})"

    @property
    def api_key(self) -> str | None:
        """The key this node presents there.

        Raises:
            SecretUnreadable: it was stored under another encryption key.
        """
        return decrypt(self.encrypted_api_key) if self.encrypted_api_key else None

    @api_key.setter
    def api_key(self, secret: str | None) -> None:
        self.encrypted_api_key = encrypt(secret) if secret else None

    @property
    def base_url(self) -> str:
        """Its OpenAI-shaped API."""
        return f"{self.http_url.rstrip('/')}/v1"

    @property
    def health(self) -> str:
        """In one word: `unchecked`, `reachable`, `failing` (still sent requests) or `unreachable`."""
        if self.checked_at is None:
            return "unchecked"
        if not self.reachable:
            return "unreachable"
        return "failing" if self.last_error else "reachable"

    def note_success(self, served_models: list[str] | None = None) -> None:
        """Close the circuit; `served_models` is what it has just listed."""
        with self.health_locked():
            self.reachable, self.failures, self.open_until, self.last_error = True, 0, None, ""
            if served_models is not None:
                self.served_models = served_models

    def note_failure(self, error: str) -> None:
        """Count a failure; enough of them in a row open the circuit."""
        with self.health_locked():
            self.failures += 1
            self.last_error = error[:500]
            if self.failures >= FAILURES_TO_OPEN:
                self.reachable = False
                doublings = min(self.failures - FAILURES_TO_OPEN, 8)
                self.open_until = timezone.now() + min(FIRST_PAUSE * 2**doublings, LONGEST_PAUSE)

    @contextmanager
    def health_locked(self) -> Iterator[None]:
        """Change what is known of its health, from what others have written of it meanwhile."""
        with transaction.atomic():
            row = ComputeBackend.objects.select_for_update().filter(pk=self.pk).first()
            if row is not None:  # it may have been removed
                for name in HEALTH:
                    setattr(self, name, getattr(row, name))
            self.checked_at = timezone.now()
            yield
            ComputeBackend.objects.filter(pk=self.pk).update(**{name: getattr(self, name) for name in HEALTH})

    def to_dict(self) -> dict[str, Any]:
        """The contract's peer record, and what there is to say of its health. The key is never shown."""
        return {
            "id": self.pk,
            "name": self.name,
            "kind": self.kind,
            "http_url": self.http_url,
            "grpc_peer": self.grpc_peer or None,
            "realtime_peer_url": self.realtime_peer_url or None,
            "reachable": self.reachable,
            "registered": True,
            "has_api_key": bool(self.encrypted_api_key),
            "models": self.served_models,
            "failures": self.failures,
            "last_error": self.last_error or None,
            "checked_at": timestamp(self.checked_at),
            "created_at": timestamp(self.created_at),
        }
