from workspace.models.adapters import Adapter, AdapterPlacement, AdapterState
from workspace.models.audit import AuditEntry
from workspace.models.credentials import ApiKey, CliToken
from workspace.models.device_logins import DeviceGrantRefused, DeviceLogin
from workspace.models.internalizations import Internalization
from workspace.models.invitations import Invitation
from workspace.models.providers import ProviderCredential
from workspace.models.sessions import EndedSession
from workspace.models.training_jobs import TrainingJob
from workspace.models.users import User
from workspace.models.workspaces import Membership, Role, Workspace

__all__ = [
    "Adapter",
    "AdapterPlacement",
    "AdapterState",
    "ApiKey",
    "AuditEntry",
    "CliToken",
    "DeviceGrantRefused",
    "DeviceLogin",
    "EndedSession",
    "Internalization",
    "Invitation",
    "Membership",
    "ProviderCredential",
    "Role",
    "TrainingJob",
    "User",
    "Workspace",
]
