"""Adapters from the Hugging Face hub."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from workspace.adapter_files import FILES
from workspace.errors import ApiError


def download_adapter(hub_id: str, folder: Path) -> None:
    """Bring the PEFT files of a hub repository into `folder`.

    Raises:
        ApiError: 422 `hub_not_found`, 502 `hub_unavailable`.
    """
    try:
        snapshot_download(hub_id, local_dir=folder, allow_patterns=list(FILES))
    except RepositoryNotFoundError as error:
        raise ApiError(
            422, "hub_not_found", f"hub_id: there is no repository {hub_id!r} on the hub, or it is private.", "hub_id"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise ApiError(
            502, "hub_unavailable", f"hub_id: the hub did not answer for {hub_id!r} ({type(error).__name__}).", "hub_id"
        ) from error
