import subprocess
import sys

from workspace.home import PROJECT_ROOT

AS_A_WORKER_STARTS = """
import sys
import django
django.setup()
from workspace.celery import app
app.loader.import_default_modules()
import workspace.urls
print({"torch", "transformers", "peft"} & set(sys.modules))
"""


def test_workers_and_management_commands_load_no_pytorch() -> None:
    """It takes ten seconds of processor time and hundreds of megabytes; only the process with the engine needs it."""
    done = subprocess.run(
        [sys.executable, "-c", AS_A_WORKER_STARTS], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
