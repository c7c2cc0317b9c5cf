"""What `LAB_MODEL` names."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console
from safetensors import SafetensorError

from inference.model_files.bundled import SERVED_NAME, fill_bundled
from inference.model_files.folder import ModelFolder, ModelUnavailable, check_folder, make_once
from inference.model_files.gguf import content_hash, fill_from_gguf
from inference.model_files.hub import download_model
from inference.model_files.progress import progress_bars

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def resolve_model(name: str | None, home: Path, console: Console | None = None) -> ModelFolder:
    """The folder of the model `name`: a folder, a .gguf file or a hub id; None: the bundled default.

    What must be converted is converted once, under `home/models`, and found there in milliseconds
    afterwards. Longer work draws bars on `console`.

    Raises:
        ModelUnavailable: with one line that says what was tried and what would work.
    """
    console = console or Console(quiet=True)
    if name is None:
        return ModelFolder(converted(home / "models" / SERVED_NAME, fill_bundled, console), SERVED_NAME)
    path = Path(name).expanduser()
    if path.is_dir():
        check_folder(path, f"LAB_MODEL {path}")
        return ModelFolder(path.resolve(), path.resolve().name)
    if path.is_file() and path.suffix == ".gguf":
        folder = home / "models" / f"{path.stem}-{content_hash(path)[:16]}"
        return ModelFolder(converted(folder, partial(fill_from_gguf, path.resolve()), console), path.stem)
    if not path.exists() and HUB_ID.fullmatch(name):
        folder = download_model(name)
        check_folder(folder, f"The hub's {name}")
        return ModelFolder(folder, name)
    raise ModelUnavailable(
        f"LAB_MODEL {name!r} is not a folder here, nor a .gguf file, nor a hub id (owner/name). "
        f"Unset, it means the bundled {SERVED_NAME}."
    )


def converted(folder: Path, fill: Callable[..., None], console: Console) -> Path:
    """`folder`, made by `fill` unless it is there.

    Raises:
        ModelUnavailable: `fill` says so, or the disk is full or not writable.
    """
    try:
        with progress_bars(console) as report:
            make_once(folder, partial(fill, report=report))
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelUnavailable(
            f"The model could not be written to {folder.parent} ({reason}). LAB_HOME must be writable and "
            "have room for the weights: for the default model 0.5 GB while it is made, then 0.3 GB."
        ) from error
    return folder
