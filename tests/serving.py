"""A real server for tests: uvicorn on a free port, the real engine and model, the test run's Postgres."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn

from inference.adapters import note_eviction
from inference.backends import LOCAL_BACKEND
from inference.engine.config import EngineConfig
from inference.runtime import runtime
from workspace.models import ApiKey, Membership, Role, User, Workspace

MODEL = "SmolLM2-135M-Instruct"
ALIAS = "qwen3-4b"
SLOTS = 4
PASSWORD = "a long password"


@dataclass(frozen=True)
class Tenant:
    """A workspace with its owner, and a client that carries its key."""

    workspace: Workspace
    owner: User
    key: str
    http: httpx.Client

    def load(self, adapter_id: str, **body: object) -> httpx.Response:
        return self.http.post(f"/v1/adapters/{adapter_id}/load", json=body)

    def register(self, adapter_id: str, folder: Path, **fields: str) -> httpx.Response:
        files = [
            ("files", (name, (folder / name).read_bytes()))
            for name in ("adapter_config.json", "adapter_model.safetensors")
        ]
        return self.http.post("/v1/adapters", data={"id": adapter_id, **fields}, files=files)

    def ask(self, question: str, adapter_id: str | None = None, **fields: object) -> httpx.Response:
        headers = {"x-hybrie-adapter-id": adapter_id} if adapter_id else {}
        body = {"model": MODEL, "messages": [{"role": "user", "content": question}], "temperature": 0, **fields}
        return self.http.post("/v1/chat/completions", json=body, headers=headers)

    def events(self) -> list[dict]:
        return self.http.get("/api/v1/usage/events").raise_for_status().json()["events"]


@pytest.fixture(scope="session")
def engine(smollm_path: Path) -> Iterator[None]:
    runtime.name_model(MODEL, [ALIAS])
    config = EngineConfig(model_path=smollm_path, max_active_loras=SLOTS, dtype="float32", max_queue=64)
    runtime.start(config, note_eviction)
    runtime.open()
    yield
    runtime.drain(10)


@pytest.fixture(scope="session")
def base_url(engine: None) -> Iterator[str]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config("workspace.asgi:application", lifespan="off", log_config=None, access_log=False)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def new_tenant(base_url: str, transactional_db: None) -> Iterator[Callable[[str], Tenant]]:
    """Makes workspaces. Whatever they leave loaded is unloaded afterwards."""
    made: list[Tenant] = []

    def make(name: str) -> Tenant:
        owner = User.objects.create_user(f"{name}@example.com", PASSWORD)
        workspace = Workspace.objects.create(name=name)
        Membership.objects.create(workspace=workspace, user=owner, role=Role.OWNER)
        key = ApiKey(workspace=workspace, name="tests").issue()
        http = httpx.Client(base_url=base_url, headers={"Authorization": f"Bearer {key}"}, timeout=120)
        made.append(Tenant(workspace, owner, key, http))
        return made[-1]

    yield make
    for tenant in made:
        tenant.http.close()
    for held in LOCAL_BACKEND.status().loaded:
        LOCAL_BACKEND.unload(held.key)


@pytest.fixture
def tenant(new_tenant: Callable[[str], Tenant]) -> Tenant:
    return new_tenant("acme")


@pytest.fixture(scope="session")
def random_adapters(smollm_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six PEFT folders whose adapters change the answers, of different ranks and target modules."""
    from peft import LoraConfig, get_peft_model  # slow to import, and this plugin is loaded by every test run
    from torch import float32, manual_seed
    from torch.nn.init import normal_
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapters")
    shapes = [
        (8, ["q_proj", "v_proj"], 0.5),
        (8, "all-linear", 0.08),
        (16, ["gate_proj", "up_proj", "down_proj"], 0.08),
        (4, ["o_proj", "down_proj"], 0.2),
        (8, "all-linear", 0.08),
        (8, "all-linear", 0.08),
    ]
    paths = []
    for index, (rank, modules, strength) in enumerate(shapes):
        manual_seed(index)
        model = AutoModelForCausalLM.from_pretrained(smollm_path, dtype=float32)
        config = LoraConfig(r=rank, lora_alpha=16, target_modules=modules, task_type="CAUSAL_LM")
        adapted = get_peft_model(model, config)
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                normal_(parameter, std=strength)
        paths.append(folder / f"random-{index}")
        adapted.save_pretrained(paths[-1])
    return paths
