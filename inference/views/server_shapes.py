"""Serializers: what the endpoints of compute peers and vLLM servers take and answer."""

from typing import Any

from rest_framework import serializers

from inference.models.backends import BACKEND_NAME
from inference.servers import NewServer
from workspace.strict import StrictSerializer


class NewServerFields(StrictSerializer):
    name = serializers.RegexField(
        rf"^{BACKEND_NAME}\Z",
        required=False,
        allow_null=True,
        error_messages={"invalid": "A name has 1 to 100 of the characters A-Z a-z 0-9 . _ -"},
    )
    api_key = serializers.RegexField(
        r"^[\x21-\x7e]+\Z",
        max_length=4096,
        required=False,
        allow_null=True,
        write_only=True,
        error_messages={"invalid": "It must be printable ASCII without spaces."},
    )
    probe = serializers.BooleanField(required=False, default=True)


class NewPeer(NewServerFields):
    """At least one address."""

    http_url = serializers.CharField(max_length=500, required=False, allow_null=True)
    grpc_peer = serializers.CharField(max_length=500, required=False, allow_null=True)
    realtime_peer_url = serializers.CharField(max_length=500, required=False, allow_null=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not any(attrs.get(name) for name in ("http_url", "grpc_peer", "realtime_peer_url")):
            raise serializers.ValidationError(
                {"http_url": "Give at least one of http_url, grpc_peer and realtime_peer_url."}
            )
        return attrs


class NewVllm(NewServerFields):
    http_url = serializers.CharField(max_length=500)
    adapter_folder = serializers.CharField(
        max_length=500,
        required=False,
        allow_null=True,
        help_text="Where the server finds LAB_HOME/adapters of this node, if not under the same path.",
    )


def new_server(kind: str, fields: dict[str, Any]) -> NewServer:
    """What the validated fields of a `NewPeer` or a `NewVllm` say of a server."""
    return NewServer(kind, **{name: value for name, value in fields.items() if name != "probe" and value is not None})


class ServerRecord(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=("peer", "vllm"))
    http_url = serializers.CharField()
    grpc_peer = serializers.CharField(allow_null=True)
    realtime_peer_url = serializers.CharField(allow_null=True)
    reachable = serializers.BooleanField(help_text="Requests are sent to it now.")
    registered = serializers.BooleanField()
    has_api_key = serializers.BooleanField()
    models = serializers.ListField(child=serializers.CharField())
    failures = serializers.IntegerField(help_text="In a row.")
    last_error = serializers.CharField(allow_null=True)
    checked_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()


class PeerList(serializers.Serializer[Any]):
    peers = ServerRecord(many=True)


class BackendList(serializers.Serializer[Any]):
    backends = ServerRecord(many=True)


class NewEntryNode(StrictSerializer):
    name = serializers.CharField(max_length=100)


class EntryNodeRecord(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    api_key_id = serializers.UUIDField()
    created_at = serializers.DateTimeField()


class MadeEntryNode(EntryNodeRecord):
    key = serializers.CharField(help_text="Shown once.")


class EntryNodeList(serializers.Serializer[Any]):
    entry_nodes = EntryNodeRecord(many=True)
