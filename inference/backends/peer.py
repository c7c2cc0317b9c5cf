"""Another node of this project as a backend."""

from datetime import datetime
from pathlib import Path
from typing import Any

from inference.backends.base import BackendStatus, ChatRequest, LoadedAdapter
from inference.backends.compute import PROBE_TIMEOUT_S, ComputeServer, rows_of
from workspace.adapter_files import CONFIG, WEIGHTS
from workspace.errors import ApiError
from workspace.models import AdapterState

ENTRY_NODE_HEADER = "x-hybrie-entry-node"


class PeerBackend(ComputeServer):
    """Adapters are registered there under this node's key for them; their files travel once for each content."""

    def adapter_names(self, key: str | None) -> dict[str, str]:
        return {}

    def headers(self, request: ChatRequest) -> dict[str, str]:
        """The peer serves it itself (no node sends it on again), and leaves the bill to this node."""
        headers = super().headers(request) | {ENTRY_NODE_HEADER: "1", "x-hybrie-execution-mode": "local"}
        return headers | ({"x-hybrie-adapter-id": request.adapter_key} if request.adapter_key else {})

    def ask_models(self) -> Any:
        """What it serves itself; only once it has restored its adapters, which is when it says that it is well."""
        self.call("GET", "health", timeout_s=PROBE_TIMEOUT_S)
        return self.call("GET", "models", timeout_s=PROBE_TIMEOUT_S, headers={ENTRY_NODE_HEADER: "1"})

    def base_models(self, listed: Any) -> list[str]:
        return [row["id"] for row in rows_of(listed) if row.get("model_kind") == "base"]

    def load(self, key: str, folder: Path, pinned: bool) -> None:
        if not self.knows(key):
            self.register(key, folder)
        self.call("POST", f"adapters/{key}/load", json={"pin": pinned})

    def unload(self, key: str) -> None:
        if self.knows(key):
            self.call("POST", f"adapters/{key}/unload", json={})

    def forget(self, key: str) -> None:
        if self.knows(key):
            self.call("DELETE", f"adapters/{key}", params={"force": "true"})

    def knows(self, key: str) -> bool:
        try:
            self.call("GET", f"adapters/{key}")
        except ApiError as error:
            if error.code == "adapter_not_found":
                return False
            raise
        return True

    def register(self, key: str, folder: Path) -> None:
        """By content first; the files are sent only where no adapter of that workspace has them."""
        try:
            self.call("POST", "adapters", json={"id": key, "content_hash": folder.name})
        except ApiError as error:
            if error.code != "content_not_found":
                raise
            files = [("files", (name, (folder / name).read_bytes())) for name in (CONFIG, WEIGHTS)]
            self.call("POST", "adapters", data={"id": key}, files=files)

    def status(self) -> BackendStatus:
        answer = self.call("GET", "adapters/status")
        try:
            held = [loaded(record) for record in answer["adapters"] if record["state"] == AdapterState.LOADED]
            return BackendStatus(int(answer["max_active_loras"]), int(answer["slots_used"]), held)
        except (TypeError, KeyError, ValueError) as error:
            raise self.upstream.broken("sent no adapter status") from error


def loaded(record: Any) -> LoadedAdapter:
    last = record["backends"].get("local", {}).get("last_used_at")
    moment = datetime.fromisoformat(last) if isinstance(last, str) else None
    return LoadedAdapter(str(record["spec"]["id"]), bool(record["pinned"]), moment)
