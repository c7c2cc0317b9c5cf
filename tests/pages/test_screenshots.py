"""Screenshots of every page as a customer would see it, and none of them too wide or with a complaint."""

import math
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.utils import timezone
from playwright.sync_api import expect

from billing.models import RateCard, UsageEvent, WorkspaceLimit
from inference.models import ComputeBackend, EntryNode
from tests.d2l_service.conftest import POLICY
from tests.pages.chromium import DESKTOP, Open, Watch, sign_in
from tests.serving import MODEL, Tenant
from workspace.models import ApiKey, Internalization, Invitation, ProviderCredential, Role, TrainingJob, User

SCREENSHOTS = settings.BASE_DIR / "var" / "screenshots"
SIZES = {"desktop": DESKTOP, "phone": {"width": 390, "height": 844}}
DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
SCORE = {"needle": 0.96, "facts": 0.54, "facts_in_context": 0.71, "facts_on_base": 0.02, "documents": 24}
LONG = "Everything that the legal department of the northern region has ever written about returned goods"


def documents_and_jobs(tenant: Tenant) -> None:
    """One document of each state, and trainings that are done, under way, and failed."""
    body = {"document_text": POLICY, "name": "Refund policy", "ttl_seconds": 5400, "session_key": "visitor-17"}
    tenant.http.post("/v1/d2l/internalize", json=body).raise_for_status()
    for index, (name, status, fields) in enumerate(
        (
            (LONG, "running", {"progress": 0.42, "message": "Step 42 of 100, loss 0.318"}),
            ("Price list", "expired", {"document_tokens": 812}),
            ("Handbook", "failed", {"error": "The document has 9000 tokens; at most 2048 are taken."}),
        )
    ):
        Internalization.objects.create(
            workspace=tenant.workspace, wanted_id=f"doc-{index}", name=name, status=status, method="distill", **fields
        )
    losses = [{"step": step, "loss": round(0.2 + 0.6 * math.exp(-step / 90), 4)} for step in range(3, 601, 3)]
    for status, step, score, error in (
        ("succeeded", 600, SCORE, ""),
        ("failed", 42, None, "A worker died at it 5 times."),
        ("running", 240, None, ""),
    ):
        TrainingJob.objects.create(
            workspace=tenant.workspace,
            base_model=MODEL,
            settings={"steps": 600, "seed": 0},
            steps=600,
            step=step,
            status=status,
            score=score,
            error=error,
            losses=[point for point in losses if point["step"] <= step],
            started_at=timezone.now() - timedelta(minutes=6),
            finished_at=None if status == "running" else timezone.now(),
        )


def servers_and_keys(tenant: Tenant) -> None:
    workspace = tenant.workspace
    gpu = ComputeBackend.objects.create(workspace=workspace, kind="vllm", name="gpu-1", http_url="http://10.0.0.5:8000")
    gpu.note_success(["Llama-3.1-8B-Instruct"])
    down = ComputeBackend.objects.create(
        workspace=workspace, kind="peer", name="attic", http_url="http://10.0.0.9:8080"
    )
    down.note_failure("attic cannot be reached (ConnectTimeout).")
    EntryNode.admit(workspace, "entry-1", tenant.owner)
    for provider, label, base_url, status, error in (
        ("openai", "team", "", "valid", ""),
        (
            "custom",
            "the old gateway",
            "https://gateway.example/v1",
            "invalid",
            "The provider refused the key (HTTP 401).",
        ),
    ):
        credential = ProviderCredential(workspace=workspace, provider=provider, label=label, base_url=base_url)
        credential.secret = "sk-example-0042"
        credential.save()
        credential.note_verdict(ProviderCredential.Status(status), error)
    ApiKey(workspace=workspace, name="Support bot", credit_limit_pence=2500, created_by=tenant.owner).issue()


def test_every_page_in_light_and_dark_on_desktop_and_phone(
    open_page: Open, tenant: Tenant, random_adapters: list[Path]
) -> None:
    """Leaves a screenshot of each in `var/screenshots`; none is wider than its screen, none complains."""
    RateCard.objects.create(model="*", input_rate="0.4", output_rate="1.2", cached_rate="0.1")
    WorkspaceLimit.objects.create(workspace=tenant.workspace, monthly_budget_pence=500)
    tenant.register("tone-of-voice.v2", random_adapters[0], name="Tone of voice for the support team")
    tenant.register("refunds", random_adapters[3])
    tenant.load("tone-of-voice.v2", pin=True)
    User.objects.filter(pk=tenant.owner.pk).update(is_staff=True, is_superuser=True)
    for adapter_id in (None, "tone-of-voice.v2", "tone-of-voice.v2"):
        tenant.ask("Hello?", adapter_id, max_tokens=4)
    event = UsageEvent.objects.first()
    assert event is not None
    documents_and_jobs(tenant)
    servers_and_keys(tenant)
    invitation = Invitation.issue(tenant.workspace, "new.colleague@example.com", Role.MEMBER, tenant.owner)
    document = Internalization.objects.get(name="Refund policy")
    job = TrainingJob.objects.get(status="succeeded")
    paths = {
        "overview": "/",
        "adapters": "/adapters",
        "adapter": "/adapters/tone-of-voice.v2",
        "documents": "/documents",
        "document": f"/documents/{document.pk}",
        "jobs": "/jobs",
        "job": f"/jobs/{job.pk}",
        "playground": "/playground",
        "usage": "/usage?group_by=adapter",
        "event": f"/usage/events/{event.id}",
        "billing": "/billing",
        "keys": "/keys",
        "backends": "/backends",
        "providers": "/providers",
        "members": "/members",
        "invitation": f"/invitations/{invitation.token}",
        "password": "/password",
        "sign-in": "/sign-in",
        "admin": "/admin/",
        "command-line-login": "/cli",
    }
    too_wide = []
    for scheme in ("light", "dark"):
        page = open_page(color_scheme=scheme)
        watch = Watch(page)
        sign_in(page, tenant.owner.email)
        for name, path in paths.items():
            page.goto(path)
            expect(page.get_by_text("Counting…")).to_have_count(0)
            for size, viewport in SIZES.items():
                page.set_viewport_size(viewport)
                page.evaluate(DRAWN)
                page.screenshot(path=SCREENSHOTS / f"{name}-{scheme}-{size}.png", full_page=True)
                width = page.evaluate("document.documentElement.scrollWidth")
                if width > viewport["width"]:
                    too_wide.append(f"{name} is {width} px wide on a {size}")
        assert too_wide == []
        assert watch.complaints == []
