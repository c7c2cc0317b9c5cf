"""Serializers: what the Doc-to-LoRA endpoints take and answer."""

from typing import Any

from rest_framework import serializers

from inference.d2l.settings import TrainingSettings
from inference.internalizing import Method, Wanted
from inference.runtime import runtime
from inference.views.shapes import AdapterIdField
from workspace.errors import ApiError, invalid
from workspace.models import Internalization, TrainingJob
from workspace.strict import StrictSerializer

SESSION_KEY_LENGTH = 200
LONGEST_TTL_S = 366 * 24 * 3600
EXAMPLES_PER_STEP = TrainingSettings.batch
MOST_STEPS = 100_000
CONTROL = set(map(chr, range(32))) - set("\t\n\r\f")


class DocumentField(serializers.CharField):
    """Text for people: neither empty nor binary."""

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, allow_blank=True, **options)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if isinstance(data, str):
            if not data.strip():
                raise ApiError(400, "document_empty", "document_text holds no text.", "document_text")
            if CONTROL.intersection(data) or any("\ud800" <= character <= "\udfff" for character in data):
                message = "document_text must be text: it holds control characters, as binary files do."
                raise ApiError(400, "document_not_text", message, "document_text")
        return super().run_validation(data)


class NewInternalization(StrictSerializer):
    document_text = DocumentField()
    id = AdapterIdField(required=False, help_text="What to call the adapter; by default a new name.")
    name = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")
    pin = serializers.BooleanField(required=False, default=False, help_text="Never evicted to make room.")
    ttl_seconds = serializers.IntegerField(
        min_value=1, max_value=LONGEST_TTL_S, required=False, allow_null=True, help_text="By default it has no end."
    )
    session_key = serializers.CharField(
        max_length=SESSION_KEY_LENGTH, required=False, allow_blank=True, allow_null=True, default=""
    )
    method = serializers.ChoiceField(choices=Internalization.Method.values, required=False)
    load = serializers.BooleanField(required=False, default=True)
    compute = serializers.DictField(required=False, help_text="Taken from clients that send it; it runs here anyway.")

    def validate_session_key(self, value: str | None) -> str:
        return value or ""


def wanted(fields: dict[str, Any]) -> Wanted:
    """What the validated fields of a `NewInternalization` ask for."""
    return Wanted(
        document=fields["document_text"],
        adapter_id=fields.get("id"),
        name=fields["name"],
        pinned=fields["pin"],
        ttl_seconds=fields.get("ttl_seconds"),
        session_key=fields["session_key"],
        method=Method(fields["method"]) if fields.get("method") else None,
        loads=fields["load"],
    )


class Failure(serializers.Serializer[Any]):
    code = serializers.CharField()
    message = serializers.CharField()


class InternalizationRecord(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    adapter_id = serializers.CharField()
    name = serializers.CharField()
    status = serializers.ChoiceField(choices=Internalization.Status.values)
    method = serializers.ChoiceField(choices=Internalization.Method.values)
    base_model = serializers.CharField()
    rank = serializers.IntegerField(allow_null=True)
    document_tokens = serializers.IntegerField(allow_null=True)
    internalize_ms = serializers.IntegerField(allow_null=True)
    held_out_score = serializers.FloatField(allow_null=True, help_text="Of a distillation: 0 to 1.")
    progress = serializers.FloatField(help_text="0 to 1.")
    message = serializers.CharField(allow_null=True)
    pinned = serializers.BooleanField()
    ttl_seconds = serializers.IntegerField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True)
    session_key = serializers.CharField(allow_null=True)
    error = Failure(allow_null=True)
    created_at = serializers.DateTimeField()


class InternalizationList(serializers.Serializer[Any]):
    internalizations = InternalizationRecord(many=True)


class EndedSession(serializers.Serializer[Any]):
    session_key = serializers.CharField()
    expired = serializers.ListField(child=serializers.CharField(), help_text="The adapters' ids.")


class Hyperparams(StrictSerializer):
    """What public clients send; those that mean nothing here are taken and ignored."""

    ignores_unknown = True
    num_examples = serializers.IntegerField(min_value=1, max_value=EXAMPLES_PER_STEP * MOST_STEPS, required=False)
    epochs = serializers.IntegerField(min_value=1, max_value=1000, required=False)
    lr = serializers.FloatField(min_value=1e-6, max_value=1.0, required=False)
    seed = serializers.IntegerField(min_value=0, max_value=2**31 - 1, required=False)


class NewTraining(Hyperparams):
    base_family = serializers.CharField(required=False, help_text="A name of the served model.")
    family = serializers.CharField(required=False, help_text="The same.")
    hyperparams = Hyperparams(required=False)


class TrainingRecord(serializers.Serializer[Any]):
    job_id = serializers.UUIDField()
    kind = serializers.CharField()
    status = serializers.ChoiceField(choices=TrainingJob.Status.values)
    base_model = serializers.CharField()
    settings = serializers.DictField()
    step = serializers.IntegerField()
    steps = serializers.IntegerField()
    progress = serializers.ListField(child=serializers.DictField(), help_text="The loss curve: step and loss.")
    score = serializers.DictField(allow_null=True)
    error = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class TrainingList(serializers.Serializer[Any]):
    jobs = TrainingRecord(many=True)


def training_settings(fields: dict[str, Any]) -> dict[str, Any]:
    """`TrainingSettings` as JSON.

    Raises:
        ApiError: 404 `model_not_found` for a family that is not served here; 400 for too many steps.
    """
    family = fields.get("base_family") or fields.get("family")
    if family is not None and not runtime.answers_to(family):
        message = f"Only the served model can be trained for: {', '.join(runtime.names)}."
        raise ApiError(404, "model_not_found", message, "base_family")
    wanted = {**fields, **fields.get("hyperparams", {})}
    examples = wanted.get("num_examples", TrainingSettings.steps * EXAMPLES_PER_STEP) * wanted.get("epochs", 1)
    steps = -(-examples // EXAMPLES_PER_STEP)
    if steps > MOST_STEPS:
        raise invalid("epochs", f"num_examples times epochs must be at most {MOST_STEPS * EXAMPLES_PER_STEP}.")
    chosen: dict[str, Any] = {"steps": steps, "seed": wanted.get("seed", 0)}
    return chosen | ({"learning_rate": wanted["lr"]} if "lr" in wanted else {})


def readable(name: str, value: str) -> str:
    """A session key from the address.

    Raises:
        ApiError: 400 where no session can have it.
    """
    if "\0" in value or not 1 <= len(value) <= SESSION_KEY_LENGTH:
        raise invalid(name, f"{name} must have 1 to {SESSION_KEY_LENGTH} characters.")
    return value
