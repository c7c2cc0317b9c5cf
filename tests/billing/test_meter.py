"""The meter in one process, against the real disk and the real Postgres."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from billing.journal import GATHER_S, Journal, SlotFile
from billing.meter import Meter, Metered, MeterInUse
from billing.models import Status, UsageEvent
from billing.usage import Usage
from workspace.models import Workspace

WAIT_S = 20


@pytest.fixture
def workspace(transactional_db: None) -> Workspace:
    return Workspace.objects.create(name="Acme")


@pytest.fixture
def intent(workspace: Workspace) -> Usage:
    return Usage(workspace_id=workspace.pk, provider="local", model="m", mode="byoc", request_id="req_1")


@pytest.fixture
def meter(tmp_path: Path, transactional_db: None) -> Iterator[Meter]:
    meter = Meter(tmp_path)
    meter.start()
    yield meter
    meter.stop()


def file_counts(file: SlotFile, metered: Metered) -> int:
    """The output tokens that a sync of the file makes durable."""
    slot = file.read(metered.intent.index)
    assert slot is not None
    return slot[1][1]


def test_it_works(meter: Meter, intent: Usage) -> None:
    metered = meter.open(intent)
    metered.durable.result(WAIT_S)
    metered.progress(input_tokens=7)
    metered.progress(input_tokens=7, cached_tokens=3, output_tokens=1)
    metered.progress(input_tokens=7, cached_tokens=3, output_tokens=2)
    assert metered.close(Status.OK).result(WAIT_S) == intent.id
    event = UsageEvent.objects.get()
    assert (event.id, event.status, event.request_id) == (intent.id, "ok", "req_1")
    assert (event.input_tokens, event.cached_tokens, event.output_tokens) == (7, 3, 2)
    assert event.ttft_ms is not None
    assert event.latency_ms >= event.ttft_ms


def test_counts_of_many_tokens_share_a_sync(meter: Meter, intent: Usage, monkeypatch: pytest.MonkeyPatch) -> None:
    metered = meter.open(intent)
    metered.durable.result(WAIT_S)
    synced: list[int] = []
    sync = SlotFile.sync

    def note_and_sync(file: SlotFile) -> None:
        synced.append(file_counts(file, metered))
        sync(file)

    monkeypatch.setattr(SlotFile, "sync", note_and_sync)
    started = time.monotonic()
    for tokens in range(1, 201):
        metered.progress(input_tokens=7, output_tokens=tokens)
        time.sleep(0.0005)
    while synced[-1:] != [200] and time.monotonic() < started + WAIT_S:
        time.sleep(0.001)
    assert synced[-1] == 200
    assert len(synced) <= (time.monotonic() - started) / GATHER_S + 1


def test_who_waits_for_an_intent_waits_for_no_others(tmp_path: Path, intent: Usage) -> None:
    """Left alone it shares the sync of the next counts, which here come in an hour."""
    journal = Journal(tmp_path, gather_s=3600)
    first, second = (journal.open(intent.to_row()) for _ in range(2))
    assert not first.durable.done()
    journal.hurry()
    first.durable.result(WAIT_S)
    second.durable.result(WAIT_S)
    third = journal.open(intent.to_row())
    journal.close()
    assert third.durable.done()


def test_closing_twice_is_one_event(meter: Meter, intent: Usage) -> None:
    metered = meter.open(intent)
    assert metered.close(Status.CLIENT_DISCONNECTED) is metered.close(Status.OK)
    metered.close(Status.OK).result(WAIT_S)
    assert UsageEvent.objects.get().status == "client_disconnected"


def test_what_is_counted_after_the_end_is_nobodys(meter: Meter, intent: Usage, workspace: Workspace) -> None:
    """Least of all that of the next request in the same slot."""
    first = meter.open(intent)
    first.close(Status.OK).result(WAIT_S)
    second = meter.open(Usage(workspace_id=workspace.pk, provider="local", model="m", mode="byoc"))
    first.progress(input_tokens=99)
    second.close(Status.OK).result(WAIT_S)
    assert [event.input_tokens for event in UsageEvent.objects.all()] == [0, 0]


def test_a_cancelled_intent_leaves_no_event(meter: Meter, intent: Usage, tmp_path: Path) -> None:
    metered = meter.open(intent)
    metered.cancel()
    metered.progress(input_tokens=1)
    meter.stop()
    assert meter.start() == 0
    assert not UsageEvent.objects.exists()


def test_an_upstreams_explicit_zero_is_a_zero(meter: Meter, intent: Usage) -> None:
    metered = meter.open(intent)
    metered.progress(input_tokens=12, output_tokens=5)
    metered.progress(input_tokens=0, output_tokens=0)
    metered.close(Status.OK).result(WAIT_S)
    event = UsageEvent.objects.get()
    assert (event.input_tokens, event.output_tokens) == (0, 0)


def test_more_requests_than_one_file_has_slots(meter: Meter, workspace: Workspace) -> None:
    intents = [Usage(workspace_id=workspace.pk, provider="local", model="m", mode="byoc") for _ in range(1030)]
    opened = [meter.open(intent) for intent in intents]
    for metered in opened:
        metered.durable.result(WAIT_S)
    for metered in [metered.close(Status.OK) for metered in opened]:
        metered.result(WAIT_S)
    assert set(UsageEvent.objects.values_list("id", flat=True)) == {intent.id for intent in intents}


def test_two_meters_cannot_share_a_folder(meter: Meter, tmp_path: Path) -> None:
    with pytest.raises(MeterInUse):
        Meter(tmp_path).start()


def test_labels_that_fit_no_slot_are_refused(meter: Meter, workspace: Workspace) -> None:
    with pytest.raises(ValueError, match="at most"):
        meter.open(
            Usage(
                workspace_id=workspace.pk,
                provider="local",
                model="m",
                mode="byoc",
                route_decision={"reason": "x" * 5000},
            )
        )


def test_strings_that_postgres_refuses_are_made_storable(meter: Meter, workspace: Workspace) -> None:
    decision = {"asked": {"model": "a\0b\ud800"}}
    metered = meter.open(
        Usage(workspace_id=workspace.pk, provider="local", model="m", mode="byoc", route_decision=decision)
    )
    metered.close(Status.OK).result(WAIT_S)
    assert UsageEvent.objects.get().route_decision == {"asked": {"model": "a\ufffdb?"}}
