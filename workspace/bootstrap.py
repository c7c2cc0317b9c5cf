"""What a first start makes: a workspace, its owner, a key and a token, and the file that names them."""

import json
import secrets
from dataclasses import asdict, dataclass

from django.db import transaction

from workspace.home import LabHome, write_private
from workspace.models import ApiKey, CliToken, Membership, Role, User, Workspace

ADMIN_EMAIL = "admin@localhost"


@dataclass(frozen=True)
class Bootstrap:
    """The contents of `LAB_HOME/bootstrap.json` (mode 0600): the only copy of these secrets."""

    workspace_id: str
    api_key: str
    cli_token: str
    admin_email: str
    admin_password: str


def ensure_first_workspace(home: LabHome) -> bool:
    """Make the first workspace on an empty database and write `bootstrap.json`. Returns whether it did."""
    if Workspace.objects.exists():
        return False
    with transaction.atomic():
        made = make_first_workspace()
        write_private(home.bootstrap_file, json.dumps(asdict(made), indent=2) + "\n")
    return True


def make_first_workspace() -> Bootstrap:
    password = secrets.token_urlsafe(15)
    admin = User.objects.create_superuser(ADMIN_EMAIL, password)
    workspace = Workspace.objects.create(name="Default workspace")
    Membership.objects.create(workspace=workspace, user=admin, role=Role.OWNER)
    return Bootstrap(
        workspace_id=str(workspace.pk),
        api_key=ApiKey(workspace=workspace, name="bootstrap", created_by=admin).issue(),
        cli_token=CliToken(user=admin, workspace=workspace, name="bootstrap").issue(),
        admin_email=admin.email,
        admin_password=password,
    )
