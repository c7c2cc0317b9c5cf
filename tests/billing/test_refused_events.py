"""Postgres refuses an event; those that came with it are stored all the same."""

from pathlib import Path

from billing.models import UsageEvent
from billing.spool import Spool
from billing.usage import Usage
from billing.writer import Writer
from workspace.models import Workspace


def test_a_refused_event_stops_no_other_of_its_batch(transactional_db: None, tmp_path: Path) -> None:
    workspace = Workspace.objects.create(name="Acme")
    modes = ["byoc"] * 7
    modes[4] = "free"
    usages = [
        Usage(workspace_id=workspace.pk, provider="local", model="m", mode=mode, output_tokens=number)
        for number, mode in enumerate(modes)
    ]
    spool, rejects = Spool(tmp_path / "events"), Spool(tmp_path / "rejected")
    writer = Writer(spool, rejects)
    writer.commit(usages, [usage.to_json() for usage in usages])
    writer.stop()
    assert sorted(UsageEvent.objects.values_list("output_tokens", flat=True)) == [0, 1, 2, 3, 5, 6]
    (refused,) = rejects.read(0)[0]
    assert refused["id"] == str(usages[4].id)
    assert "usageevent_mode_known" in refused["refused"]
    spool.close()
    rejects.close()
