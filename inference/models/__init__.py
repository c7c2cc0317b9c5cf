from inference.models.backends import ComputeBackend
from inference.models.entry_nodes import EntryNode
from inference.models.managed import ManagedProvider

__all__ = ["ComputeBackend", "EntryNode", "ManagedProvider"]
