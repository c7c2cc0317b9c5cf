"""How long the console's pages take on the server, beside a ledger of any size; `benchmarks/ledger_scale.py` asks."""

import statistics
import time

from django.test import Client

from billing.models import UsageEvent
from workspace.models import Adapter, Membership, Role, User, Workspace

ADAPTERS = 10_000


class Pages:
    """A signed-in owner, in a workspace with many adapters."""

    def __init__(self, workspace: Workspace) -> None:
        owner = User.objects.create_user("owner@example.com", "a long password")
        Membership.objects.create(workspace=workspace, user=owner, role=Role.OWNER)
        self.client = Client()
        self.client.force_login(owner)
        Adapter.objects.bulk_create(
            Adapter(
                workspace=workspace,
                adapter_id=f"adapter-{number}",
                base_model="smollm2",
                rank=8,
                alpha=16,
                target_modules=["q_proj", "v_proj"],
                source="upload",
                checksum_sha256=f"{number:064x}",
                content_hash=f"{number:064x}",
                size_bytes=10_000_000,
            )
            for number in range(ADAPTERS)
        )

    def ask_all(self, times: int) -> None:
        event = UsageEvent.objects.values_list("pk", flat=True).first()
        for path in (
            *("/", "/adapters", "/adapters?page=150", "/adapters/adapter-3", "/documents", "/playground"),
            *("/usage", "/usage?window=30d&group_by=adapter", f"/usage/events/{event}", "/usage/adapters/adapter-3"),
            *("/billing", "/keys", "/members", "/jobs", "/backends", "/providers"),
        ):
            self.ask(path, times)

    def ask(self, path: str, times: int) -> None:
        measured = []
        for number in range(times + 3):
            begun = time.perf_counter()
            answer = self.client.get(path)
            if number >= 3:
                measured.append((time.perf_counter() - begun) * 1000)
            assert answer.status_code == 200, (path, answer.status_code)
        p95 = statistics.quantiles(measured, n=20)[-1]
        print(f"  page {path[:34]:<34} p50 {statistics.median(measured):6.1f} ms   p95 {p95:6.1f} ms")
