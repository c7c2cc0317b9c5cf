"""From `LAB_MODEL` to a folder transformers loads: the bundled model, a folder, a GGUF file or a hub id."""

from inference.model_files.folder import ModelFolder, ModelUnavailable
from inference.model_files.resolve import resolve_model

__all__ = ["ModelFolder", "ModelUnavailable", "resolve_model"]
