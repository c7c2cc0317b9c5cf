"""A vLLM server as a backend (docs.vllm.ai/en/latest/features/lora): it needs `--enable-lora` and
`VLLM_ALLOW_RUNTIME_LORA_UPDATING=1`, and sees the adapter files over a shared path."""

from pathlib import Path
from typing import Any

from inference.backends.base import BackendStatus, LoadedAdapter
from inference.backends.compute import ComputeServer, rows_of
from workspace.errors import ApiError


class VllmBackend(ComputeServer):
    """Adapters are models there, named by this node's key for them."""

    def adapter_names(self, key: str | None) -> dict[str, str]:
        return {"model": key} if key else {}

    def base_models(self, listed: Any) -> list[str]:
        return [row["id"] for row in rows_of(listed) if not row.get("parent")]

    def load(self, key: str, folder: Path, pinned: bool) -> None:
        """vLLM has no pinning: it keeps every adapter that it was given until it is told otherwise."""
        if key in self.held():
            return
        path = Path(self.row.adapter_folder) / folder.name if self.row.adapter_folder else folder
        self.change("load_lora_adapter", {"lora_name": key, "lora_path": str(path)})

    def unload(self, key: str) -> None:
        if key in self.held():
            self.change("unload_lora_adapter", {"lora_name": key})

    def forget(self, key: str) -> None:
        """The files are this node's own; nothing of an unloaded adapter is left there."""

    def change(self, call: str, body: dict[str, str]) -> None:
        try:
            self.call("POST", call, json=body)
        except ApiError as error:
            if error.code == "peer_unreachable":
                raise
            raise ApiError(422, "adapter_incompatible", error.message, "backends") from error

    def held(self) -> set[str]:
        return {row["id"] for row in rows_of(self.call("GET", "models")) if row.get("parent")}

    def status(self) -> BackendStatus:
        held = sorted(self.held())
        return BackendStatus(0, len(held), [LoadedAdapter(key, False, None) for key in held])
