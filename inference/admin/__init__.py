"""The admin console's view of adapters and of where requests run."""

from inference import health as health  # its parts of the first page
from inference.admin import adapters as adapters
from inference.admin import backends as backends
