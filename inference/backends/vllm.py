"""A vLLM server as a backend (docs.vllm.ai/en/latest/features/lora): it needs `--enable-lora` and
`VLLM_ALLOW_RUNTIME_LORA_UPDATING=1`, and sees the adapter files over a shared path."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx

from inference.backends.base import BackendStatus, ChatDelta, ChatUsage, LoadedAdapter, Prepared
from inference.backends.compute import ComputeServer, rows_of, said_in
from inference.backends.refusals import SAID_LENGTH
from workspace.errors import ApiError

ABOUT_THE_ADAPTER = (400, 404, 422, 500)  # 500 is what it says of a rank or a kind of adapter that it does not take
CAUSE = re.compile(r"failed with error '(.*)', please", re.DOTALL).search


class VllmBackend(ComputeServer):
    """Adapters are models there, named by this node's key for them."""

    def adapter_names(self, key: str | None) -> dict[str, str]:
        return {"model": key} if key else {}

    def base_models(self, listed: Any) -> list[str]:
        return [row["id"] for row in rows_of(listed) if not row.get("parent")]

    async def chat(self, prepared: Prepared, usage: ChatUsage) -> AsyncGenerator[ChatDelta]:
        """An adapter that it has lost, as by a restart, is to it a model that there is not."""
        try:
            async with aclosing(super().chat(prepared, usage)) as stream:
                async for delta in stream:
                    yield delta
        except ApiError as error:
            if error.status == httpx.codes.NOT_FOUND and prepared.request.adapter_key:
                raise self.upstream.lacks_adapter() from error
            raise

    def load(self, key: str, folder: Path, pinned: bool) -> None:
        """vLLM has no pinning: it keeps every adapter that it was given until it is told otherwise.

        Raises:
            ApiError: 422 `adapter_incompatible`; 502 `upstream_refused_key`; 503 `peer_unreachable`.
        """
        path = Path(self.row.adapter_folder) / folder.name if self.row.adapter_folder else folder
        answer = self.send("POST", "load_lora_adapter", json={"lora_name": key, "lora_path": str(path)})
        if not answer.is_success and key not in self.held():  # a second load of the same is refused there
            raise self.adapter_refused(answer)

    def unload(self, key: str) -> None:
        answer = self.send("POST", "unload_lora_adapter", json={"lora_name": key})
        if not answer.is_success and key in self.held():
            raise self.adapter_refused(answer)

    def forget(self, key: str) -> None:
        """The files are this node's own; nothing of an unloaded adapter is left there."""

    def adapter_refused(self, answer: httpx.Response) -> ApiError:
        if answer.status_code not in ABOUT_THE_ADAPTER:
            return self.refused(answer)
        said = said_in(answer).get("message")
        if not isinstance(said, str):  # it has no such call
            why = "takes no adapters while it runs: start it with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"
        else:
            cause = CAUSE(said)
            why = f"refused the adapter: {(cause[1] if cause else said)[:SAID_LENGTH].rstrip('.')}"
        return ApiError(422, "adapter_incompatible", f"{self.upstream.name} {why}.", "backends")

    def held(self) -> set[str]:
        return {row["id"] for row in rows_of(self.call("GET", "models")) if row.get("parent")}

    def status(self) -> BackendStatus:
        held = sorted(self.held())
        return BackendStatus(0, len(held), [LoadedAdapter(key, False, None) for key in held])
