"""C to a shared library, when a process starts: it takes less than a second, and fits the processor it runs on."""

import ctypes
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger(__name__)

COMPILERS = ("gcc", "cc")  # on Linux torch brings the OpenMP of GCC, which clang does not use
COMPILE = ("-O3", "-D_GNU_SOURCE", "-march=native", "-mprefer-vector-width=512", "-fopenmp", "-fPIC", "-c")
# Not linked with OpenMP: its functions are found in the library that torch has loaded, so that both share threads
LINK = ("-shared", "-lm")
LONGEST_S = 60


def compile_library(
    source: Path, defines: Sequence[str], loaded: type[ctypes.CDLL] = ctypes.CDLL
) -> ctypes.CDLL | None:
    """Compile and load `source`; None, and a line in the log, where that does not work.

    Args:
        loaded: `ctypes.PyDLL` for a library whose calls are too short to let go of the interpreter's lock.
    """
    compiler = os.environ.get("CC") or next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        log.warning("There is no C compiler (cc): the engine uses torch's operations, which are slower.")
        return None
    with tempfile.TemporaryDirectory() as folder:
        compiled, library = f"{folder}/compiled.o", f"{folder}/library.so"
        try:
            run(compiler, *COMPILE, *(f"-D{define}" for define in defines), str(source), "-o", compiled)
            run(compiler, compiled, *LINK, "-o", library)
            return loaded(library)
        except (OSError, subprocess.SubprocessError) as error:
            log.warning("%s cannot be used (%s): the engine uses torch's operations.", source.name, reason(error))
            return None


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=LONGEST_S)


def reason(error: Exception) -> str:
    said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
    return (said.strip().splitlines() or [type(error).__name__])[0]
