"""Invitations into a workspace: a signed link that works once, until it expires or is taken back."""

import uuid
from datetime import timedelta

from django.conf import settings
from django.core import signing
from django.db import models, transaction
from django.db.models.functions import Now
from django.utils import timezone

from workspace.models.users import User
from workspace.models.workspaces import Membership, Role, Workspace

LIFETIME = timedelta(days=7)
SALT = "workspace.invitation"


class Invitation(models.Model):
    """One person's, by email. Whoever has the link may take the role under that email, and no other."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="invitations")
    email = models.EmailField()
    role = models.CharField(max_length=10, choices=Role.choices)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (
            models.CheckConstraint(
                condition=models.Q(role__in=["viewer", "member", "admin", "owner"]), name="invitation_role_known"
            ),
        )
        indexes = (models.Index(fields=("workspace", "-created_at"), name="invitation_by_workspace"),)

    def __str__(self) -> str:
        return f"{self.email} as {self.role}"

    @classmethod
    def open_ones(cls) -> models.QuerySet["Invitation"]:
        """Those whose link works."""
        return cls.objects.filter(accepted_at=None, revoked_at=None, expires_at__gt=Now())

    @classmethod
    def issue(cls, workspace: Workspace, email: str, role: Role, created_by: User | None) -> "Invitation":
        """A new one; an earlier one of the same person no longer works."""
        cls.open_ones().filter(workspace=workspace, email__iexact=email).update(revoked_at=Now())
        return cls.objects.create(
            workspace=workspace, email=email, role=role, created_by=created_by, expires_at=timezone.now() + LIFETIME
        )

    @property
    def token(self) -> str:
        """What the link ends with."""
        return signing.Signer(salt=SALT).sign(self.pk.hex)

    @classmethod
    def of_token(cls, token: str) -> "Invitation | None":
        """The one whose link ends so, if it still works."""
        try:
            pk = signing.Signer(salt=SALT).unsign(token)
        except signing.BadSignature:
            return None
        return cls.open_ones().filter(pk=pk).select_related("workspace").first()

    @transaction.atomic
    def accept(self, user: User) -> Membership | None:
        """Make the person a member; a role that they have already stays. None: another was faster."""
        if not Invitation.open_ones().filter(pk=self.pk).update(accepted_at=Now()):
            return None
        membership, _ = Membership.objects.get_or_create(
            workspace=self.workspace, user=user, defaults={"role": self.role}
        )
        return membership

    def revoke(self) -> bool:
        """False: its link did not work any more."""
        return bool(Invitation.open_ones().filter(pk=self.pk).update(revoked_at=Now()))
