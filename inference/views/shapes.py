"""Serializers: what the adapter endpoints take and answer."""

from typing import Any

from rest_framework import serializers

from workspace.models.adapters import ADAPTER_ID
from workspace.strict import StrictSerializer

STATES = ("registered", "loading", "loaded", "unloading", "failed", "expired")


class AdapterIdField(serializers.RegexField):
    def __init__(self, **options: Any) -> None:
        super().__init__(
            rf"^{ADAPTER_ID}\Z",
            trim_whitespace=False,
            error_messages={"invalid": "An id has 1 to 128 of the characters A-Z a-z 0-9 . _ -"},
            **options,
        )


class RegisterFields(StrictSerializer):
    id = AdapterIdField()
    name = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")
    version = serializers.CharField(max_length=64, required=False, default="1")
    checksum_sha256 = serializers.RegexField(
        r"^[0-9a-fA-F]{64}\Z",
        required=False,
        error_messages={"invalid": "It must be a SHA-256 in hex: 64 digits, of adapter_model.safetensors."},
    )
    pinned = serializers.BooleanField(required=False, default=False)
    base_model = serializers.CharField(max_length=300, required=False)


class RegisterFromPlace(RegisterFields):
    """The JSON form: exactly one of `adapter_path`, `hub_id` and `content_hash`."""

    adapter_path = serializers.CharField(max_length=4096, required=False)
    hub_id = serializers.RegexField(
        r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?\Z",
        max_length=200,
        required=False,
        error_messages={"invalid": "It must look like owner/name."},
    )

    content_hash = serializers.RegexField(
        r"^[0-9a-f]{64}\Z",
        required=False,
        help_text="Of the files of an adapter that this workspace has already; compute peers send it before files.",
        error_messages={"invalid": "It must be a SHA-256 in lower-case hex: 64 digits."},
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if sum(name in attrs for name in ("adapter_path", "hub_id", "content_hash")) != 1:
            raise serializers.ValidationError(
                {
                    "adapter_path": "Give exactly one of adapter_path, hub_id and content_hash, or upload the files "
                    "as multipart."
                }
            )
        return attrs


class RegisterUpload(RegisterFields):
    """The multipart form: the PEFT files under their own names."""

    is_form = True
    files = serializers.ListField(child=serializers.FileField(), min_length=1)


class LoadBody(StrictSerializer):
    backends = serializers.ListField(child=serializers.CharField(), min_length=1, required=False)
    pin = serializers.BooleanField(required=False, allow_null=True, default=None)


class UnloadBody(StrictSerializer):
    backends = serializers.ListField(child=serializers.CharField(), min_length=1, required=False)


class Spec(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()
    version = serializers.CharField()
    base_model = serializers.CharField()
    rank = serializers.IntegerField()
    alpha = serializers.FloatField()
    target_modules = serializers.ListField(child=serializers.CharField())
    source = serializers.CharField()  # type: ignore[assignment]  # DRF moves declared fields out of the class
    checksum_sha256 = serializers.CharField()
    size_bytes = serializers.IntegerField()


class Placement(serializers.Serializer[Any]):
    state = serializers.ChoiceField(choices=STATES)
    pinned = serializers.BooleanField()
    loaded_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True)
    error = serializers.CharField(allow_null=True)


class AdapterRecord(serializers.Serializer[Any]):
    spec = Spec()
    backends = serializers.DictField(child=Placement())
    state = serializers.ChoiceField(choices=STATES)
    pinned = serializers.BooleanField()
    session_key = serializers.CharField(allow_null=True)
    ttl_seconds = serializers.IntegerField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()


class AdapterList(serializers.Serializer[Any]):
    adapters = AdapterRecord(many=True)


class AdapterStatus(AdapterList):
    max_active_loras = serializers.IntegerField()
    loaded_loras = serializers.IntegerField(help_text="Of this workspace.")
    slots_used = serializers.IntegerField(help_text="On this node, by all workspaces.")
    slots_free = serializers.IntegerField()
    lora_mode = serializers.CharField()
    base_model = serializers.CharField()
