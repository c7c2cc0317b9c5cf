"""Models from the Hugging Face hub."""

from pathlib import Path

from inference.model_files.folder import ModelUnavailable

FILES = ["*.json", "*.jinja", "*.safetensors", "*.txt", "tokenizer.model"]
FOLDERS = ["*/*"]  # other formats of the same weights lie in folders


def download_model(hub_id: str) -> Path:
    """The model's folder in Hugging Face's cache (`HF_HOME`), brought up to date if the hub answers.

    Raises:
        ModelUnavailable: there is no such model, it may not be read, or neither hub nor cache has it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return Path(snapshot_download(hub_id, allow_patterns=FILES, ignore_patterns=FOLDERS))
    except HFValidationError as error:
        raise ModelUnavailable(f"LAB_MODEL {hub_id!r} is not a possible hub id; one reads owner/name.") from error
    except GatedRepoError as error:
        raise ModelUnavailable(
            f"The hub keeps {hub_id} for people who accepted its terms; accept them there and set HF_TOKEN."
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelUnavailable(
            f"LAB_MODEL {hub_id!r} is no folder here and no model on the hub, or a private one: set HF_TOKEN."
        ) from error
    except LocalEntryNotFoundError as error:
        raise ModelUnavailable(
            f"The hub cannot be reached, and {hub_id} is not in its cache here; "
            "connect, or set LAB_MODEL to a local folder."
        ) from error
    except HfHubHTTPError as error:
        raise ModelUnavailable(f"The hub did not give {hub_id}: {str(error).partition(chr(10))[0]}") from error
