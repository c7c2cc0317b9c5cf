"""What `LAB_MODEL` names."""

import re
from functools import partial
from pathlib import Path

from safetensors import SafetensorError

from inference.model_files.bundled import SERVED_NAME, fill_bundled
from inference.model_files.folder import ModelFolder, ModelUnavailable, check_folder, make_once
from inference.model_files.gguf import content_hash, convert
from inference.model_files.hub import download_model
from inference.model_files.progress import Report, silent

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def resolve_model(name: str | None, home: Path, report: Report = silent) -> ModelFolder:
    """The folder of the model `name`: a folder, a .gguf file or a hub id; None: the bundled default.

    Made once under `home/models` where it has to be converted, found there in milliseconds afterwards.

    Raises:
        ModelUnavailable: with one line that says what was tried and what would work.
    """
    models = home / "models"
    try:
        if name is None:
            return bundled_model(models, report)
        path = Path(name).expanduser()
        if path.is_dir():
            return local_folder(path.resolve())
        if path.is_file() and path.suffix == ".gguf":
            return local_gguf(path.resolve(), models, report)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelUnavailable(
            f"The model could not be written to {models} ({reason}). LAB_HOME must be writable and have room for "
            "its weights as float32: for the default model 1 GB while it is made, 0.6 GB afterwards."
        ) from error
    if not path.exists() and HUB_ID.fullmatch(name):
        found = download_model(name)
        check_folder(found, f"The hub's {name}")
        return ModelFolder(found, name)
    raise ModelUnavailable(
        f"LAB_MODEL {name!r} is not a folder, a .gguf file or a hub id (owner/name); unset, it is {SERVED_NAME}."
    )


def bundled_model(models: Path, report: Report) -> ModelFolder:
    folder = models / SERVED_NAME
    make_once(folder, partial(fill_bundled, report=report))
    return ModelFolder(folder, SERVED_NAME)


def local_folder(path: Path) -> ModelFolder:
    check_folder(path, f"LAB_MODEL {path}")
    return ModelFolder(path, path.name)


def local_gguf(path: Path, models: Path, report: Report) -> ModelFolder:
    folder = models / f"{path.stem}-{content_hash(path)[:16]}"
    make_once(folder, lambda partial_folder: convert(path, partial_folder, report))
    return ModelFolder(folder, path.stem)
