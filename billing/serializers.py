"""The shapes of the answers, for the API's schema."""

from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.core.validators import URLValidator
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing.models import Mode, RateCard, Status, WorkspaceLimit
from workspace.models import Workspace
from workspace.strict import StrictFields, StrictSerializer


class UsageEventSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    ts = serializers.DateTimeField()
    provider = serializers.CharField()
    model = serializers.CharField()
    mode = serializers.ChoiceField(choices=Mode.choices)
    modality = serializers.CharField()
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField()
    cost_gbp = serializers.FloatField(allow_null=True)
    latency_ms = serializers.IntegerField(allow_null=True)
    ttft_ms = serializers.IntegerField(allow_null=True)
    status = serializers.ChoiceField(choices=Status.choices)
    route_decision = serializers.DictField()
    adapter_id = serializers.CharField(allow_null=True)
    session_key = serializers.CharField(allow_null=True)
    api_key_id = serializers.UUIDField(allow_null=True)
    request_id = serializers.CharField()
    stream = serializers.BooleanField()
    corrects = serializers.UUIDField(allow_null=True)


class EventsPageSerializer(serializers.Serializer):
    events = UsageEventSerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True)


class TotalsSerializer(serializers.Serializer):
    requests = serializers.IntegerField()
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField()
    cost_gbp = serializers.FloatField()


class PointSerializer(TotalsSerializer):
    label = serializers.CharField(allow_null=True)  # type: ignore[assignment]  # DRF has a `label` of its own


class PeriodSerializer(serializers.Serializer):
    period_start = serializers.DateTimeField()
    period_end = serializers.DateTimeField()


class SummaryMetaSerializer(PeriodSerializer):
    window = serializers.CharField()
    group_by = serializers.CharField()


class SummarySerializer(serializers.Serializer):
    points = PointSerializer(many=True)
    totals = TotalsSerializer()
    meta = SummaryMetaSerializer()


class BillSerializer(TotalsSerializer):
    cost_pence = serializers.FloatField()


class ModeBillSerializer(BillSerializer):
    mode = serializers.CharField()


class ProviderBillSerializer(BillSerializer):
    provider = serializers.CharField()


class ModelBillSerializer(BillSerializer):
    model = serializers.CharField()


class DayBillSerializer(BillSerializer):
    date = serializers.DateField()


class MonthToDateSerializer(BillSerializer):
    by_mode = ModeBillSerializer(many=True)
    by_provider = ProviderBillSerializer(many=True)
    by_model = ModelBillSerializer(many=True)


class AdapterBillSerializer(BillSerializer):
    adapter_id = serializers.CharField()
    requests_pct = serializers.FloatField()
    tokens_pct = serializers.FloatField(allow_null=True)


class CoverageSerializer(serializers.Serializer):
    requests_pct = serializers.FloatField(allow_null=True)
    tokens_pct = serializers.FloatField(allow_null=True)
    requests_with_adapter = serializers.IntegerField()
    requests_total = serializers.IntegerField()
    by_adapter = AdapterBillSerializer(many=True)


class SnapshotSerializer(PeriodSerializer):
    mtd = MonthToDateSerializer()
    daily = DayBillSerializer(many=True)
    adapter_coverage = CoverageSerializer()
    unmetered_event_count = serializers.IntegerField()
    meter_events = serializers.ListField(child=serializers.DictField())  # as in SinkSerializer
    autumn_events = serializers.ListField(child=serializers.DictField())


class RateCardSerializer(StrictFields, serializers.ModelSerializer):
    workspace_id = serializers.PrimaryKeyRelatedField(
        source="workspace", queryset=Workspace.objects.all(), allow_null=True, default=None
    )

    class Meta:
        model = RateCard
        fields = (
            *("id", "workspace_id", "provider", "model", "mode", "adapter_id"),
            *("input_rate", "output_rate", "cached_rate", "effective_from", "effective_until"),
            *("note", "created_at"),
        )
        read_only_fields = ("created_at",)
        validators = ()  # `validate` asks the model itself

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        try:
            RateCard(**attrs).full_clean(exclude=["id"])
        except ValidationError as error:
            problems = error.message_dict
            general = {"non_field_errors": problems.pop(NON_FIELD_ERRORS, [])}
            raise serializers.ValidationError({**problems, **general}) from None
        return attrs


class RateCardEndSerializer(StrictSerializer):
    effective_until = serializers.DateTimeField(allow_null=True)


class RateCardsSerializer(serializers.Serializer):
    rate_cards = RateCardSerializer(many=True)


@extend_schema_field({"type": "string", "maxLength": 500, "description": "http or https; empty: none."})
class WebhookUrl(serializers.CharField):
    def to_internal_value(self, data: Any) -> str:
        address = super().to_internal_value(data)
        if address:
            URLValidator(schemes=["http", "https"])(address)
        return address


class WorkspaceLimitSerializer(StrictFields, serializers.ModelSerializer):
    webhook_url = WebhookUrl(max_length=500, allow_blank=True, required=False)

    class Meta:
        model = WorkspaceLimit
        fields = ("monthly_budget_pence", "requests_per_minute", "tokens_per_minute", "webhook_url")


class CreditSerializer(serializers.Serializer):
    api_key_id = serializers.UUIDField(allow_null=True)
    limit_pence = serializers.IntegerField()
    spent_pence = serializers.FloatField()
    reserved_pence = serializers.FloatField()
    period_start = serializers.DateTimeField(allow_null=True)
    period_end = serializers.DateTimeField(allow_null=True)


class LimitWarningSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    workspace_id = serializers.UUIDField()
    api_key_id = serializers.UUIDField(allow_null=True)
    limit = serializers.CharField()
    percent = serializers.IntegerField()
    period_start = serializers.DateTimeField(allow_null=True)
    spent_pence = serializers.FloatField()
    limit_pence = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    delivered_at = serializers.DateTimeField(allow_null=True)


class LimitsSerializer(WorkspaceLimitSerializer):
    webhook_secret = serializers.CharField(allow_null=True)
    credits = CreditSerializer(many=True)
    warnings = LimitWarningSerializer(many=True)

    class Meta(WorkspaceLimitSerializer.Meta):
        fields = (*WorkspaceLimitSerializer.Meta.fields, "webhook_secret", "credits", "warnings")  # type: ignore[assignment]


class StoredSnapshotSerializer(serializers.Serializer):
    month = serializers.CharField()
    revision = serializers.IntegerField()
    events = serializers.IntegerField()
    sha256 = serializers.CharField()
    created_at = serializers.DateTimeField()
    snapshot = SnapshotSerializer()


class StoredSnapshotsSerializer(serializers.Serializer):
    snapshots = StoredSnapshotSerializer(many=True)


class ReconciliationSerializer(serializers.Serializer):
    period_start = serializers.DateTimeField()
    period_end = serializers.DateTimeField()
    events = serializers.IntegerField()
    status = serializers.ChoiceField(choices=["reconciled", "differs"])
    differences = serializers.ListField(child=serializers.DictField())
    created_at = serializers.DateTimeField()


class ReconciliationsSerializer(serializers.Serializer):
    reconciliations = ReconciliationSerializer(many=True)


class CorrectionSerializer(StrictSerializer):
    """The true values; what is left out stands."""

    input_tokens = serializers.IntegerField(min_value=0, required=False)
    output_tokens = serializers.IntegerField(min_value=0, required=False)
    cached_tokens = serializers.IntegerField(min_value=0, required=False)
    cost_gbp = serializers.DecimalField(max_digits=24, decimal_places=12, min_value=0, required=False)
    reason = serializers.CharField(max_length=500)


class SinkSerializer(serializers.Serializer):
    name = serializers.CharField()
    kind = serializers.CharField()
    enabled = serializers.BooleanField()
    delivered = serializers.IntegerField()
    pending = serializers.IntegerField()
    oldest_pending = serializers.DateTimeField(allow_null=True)
    refused = serializers.IntegerField()
    failures = serializers.IntegerField()
    last_error = serializers.CharField()


class SinksSerializer(serializers.Serializer):
    sinks = SinkSerializer(many=True)
