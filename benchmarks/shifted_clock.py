"""A process whose own clock is wrong, beside others whose clock is right.

Not libfaketime: of version 0.9.10, waits with a timeout end with an error or not at all in Python 3.11.
"""

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
COMPILER = shutil.which("cc")


def shifted_clock(seconds: int, folder: Path) -> dict[str, str]:
    """The environment of a process whose clock is so many seconds ahead; needs `COMPILER`. The library is put into
    `folder`, which must outlive the process.
    """
    library = folder / "shifted_clock.so"
    subprocess.run([COMPILER or "cc", "-O1", "-shared", "-fPIC", str(SOURCE), "-o", str(library)], check=True)
    return {"LD_PRELOAD": str(library), "CLOCK_OFFSET_S": str(seconds)}
