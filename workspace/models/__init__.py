from workspace.models.adapters import Adapter, AdapterPlacement, AdapterState
from workspace.models.credentials import ApiKey, CliToken
from workspace.models.internalizations import Internalization
from workspace.models.users import User
from workspace.models.workspaces import Membership, Role, Workspace

__all__ = [
    "Adapter",
    "AdapterPlacement",
    "AdapterState",
    "ApiKey",
    "CliToken",
    "Internalization",
    "Membership",
    "Role",
    "User",
    "Workspace",
]
