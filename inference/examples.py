"""The example adapter that a first start registers."""

from django.conf import settings

from inference import adapters
from workspace.errors import ApiError
from workspace.models import Adapter, Workspace

EXAMPLE_ID = "refund-policy"
EXAMPLE_FOLDER = settings.BASE_DIR / "examples" / "refund_policy" / "adapter"


def register_example(workspace: Workspace) -> Adapter | None:
    """Register `refund-policy` in the workspace; None where it does not fit the model that is served."""
    try:
        return adapters.register(
            workspace,
            EXAMPLE_FOLDER,
            adapters.Registration(EXAMPLE_ID, source="example", name="Refund policy (example)"),
        )
    except ApiError as error:
        if error.code == "adapter_incompatible":
            return None
        raise
