"""Whatever happens in whatever order, the ledger and all that is kept of it say the same, to the last digit."""

from datetime import timedelta
from decimal import Decimal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.corrections import correct
from billing.ledger import record_event
from billing.models import RateCard, UsageEvent
from billing.periods import Period
from billing.reconcile import rollup_differences, spend_differences
from billing.totals import LABELS, Totals, total, totalled
from billing.usage import Usage
from tests.billing.conftest import utc
from workspace.models import Workspace

MONTHS = [Period.month_of(utc(2028, month, 1)) for month in (1, 2, 3)]
moments = st.integers(0, 91 * 24 * 60 * 60 * 1000 - 1).map(
    lambda offset: utc(2028, 1, 1) + timedelta(milliseconds=offset)
)
tokens = st.integers(0, 10**7)
rates = st.decimals(0, 10**4, places=6)
events = st.tuples(
    st.just("event"),
    moments,
    st.sampled_from(["a", "b"]),
    st.sampled_from([None, "x", "y"]),
    st.sampled_from(["mi", "byoc"]),
    tokens,
    tokens,
)
corrections = st.tuples(st.just("correction"), moments, st.integers(0, 30), tokens, st.none() | rates)
prices = st.tuples(st.just("price"), moments, st.sampled_from(["*", "a", "b"]), rates, rates)
repeats = st.tuples(st.just("repeat"), st.integers(0, 30))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(events | corrections | prices | repeats, max_size=25))
def test_any_interleaving_gives_the_same_totals_from_the_ledger_and_the_rollups(
    db: None, happenings: list[tuple]
) -> None:
    workspace = Workspace.objects.create(name="Acme")
    recorded: list[Usage] = []
    for kind, *what in happenings:
        if kind == "event":
            ts, model, adapter, mode, inputs, outputs = what
            usage = Usage(
                workspace_id=workspace.pk,
                provider="local",
                model=model,
                mode=mode,
                status="ok",
                adapter_id=adapter,
                input_tokens=inputs,
                output_tokens=outputs,
                cached_tokens=inputs // 2,
                ts=ts,
            )
            record_event(usage)
            recorded.append(usage)
        elif kind == "price":
            moment, pattern, input_rate, output_rate = what
            RateCard.objects.get_or_create(
                workspace=workspace,
                model=pattern,
                effective_from=moment,
                defaults={"input_rate": input_rate, "output_rate": output_rate},
            )
        elif recorded and kind == "correction":
            moment, index, outputs, cost = what
            original = UsageEvent.objects.get(id=recorded[index % len(recorded)].id)
            correct(original, {"output_tokens": outputs}, cost, "property", "test", at=moment)
        elif recorded:
            record_event(recorded[what[0] % len(recorded)])

    for period in MONTHS:
        assert rollup_differences(period) == []
        assert spend_differences(period) == []
        raw = ledger_total(workspace, period)
        all_usage, by = totalled(workspace, period, *LABELS)
        assert all_usage == raw
        for label in LABELS:
            assert total(by[label]) == raw


def ledger_total(workspace: Workspace, period: Period) -> Totals:
    """The sum in Python of every event."""
    result = Totals()
    for event in UsageEvent.objects.filter(workspace=workspace, ts__gte=period.start, ts__lt=period.end):
        result += Totals(
            requests=int(event.corrects is None),
            input_tokens=event.input_tokens,
            output_tokens=event.output_tokens,
            cached_tokens=event.cached_tokens,
            cost_gbp=event.cost_gbp or Decimal(0),
            unmetered=int(event.corrects is None and event.cost_gbp is None),
        )
    return result
