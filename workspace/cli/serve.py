"""`lab serve`."""

import os
import sys
from pathlib import Path


def serve() -> None:
    """Start the server with all it needs; Ctrl-C stops it."""
    manage = Path(__file__).resolve().parents[2] / "manage.py"
    os.execv(sys.executable, [sys.executable, str(manage), "serve"])
