"""The adapter endpoints of the contract's section 3."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.parsers import JSONParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference import adapters, internalizing
from inference.backends import LOCAL_BACKEND
from inference.hub import download_adapter
from inference.runtime import LORA_MODE, runtime
from inference.views import shapes
from workspace.adapter_files import CONFIG, WEIGHTS
from workspace.audit import audit
from workspace.errors import ApiError, invalid
from workspace.models import Adapter, AdapterState, Workspace
from workspace.models.adapters import AdapterQuerySet
from workspace.openapi.refusals import refusals
from workspace.permissions import principal_of

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
MIB = 1 << 20


class Adapters(APIView):
    parser_classes = (JSONParser, MultiPartParser)

    @extend_schema(
        summary="List the workspace's adapters",
        parameters=[
            OpenApiParameter(
                "state",
                enum=AdapterState.values,
                description="Only these; expired ones are not listed otherwise.",
            )
        ],
        responses=shapes.AdapterList,
    )
    def get(self, request: Request) -> Response:
        workspace, state = principal_of(request).workspace, request.query_params.get("state")
        if state is None:
            return Response({"adapters": adapters.describe(living(workspace))})
        if state not in AdapterState.values:
            raise invalid("state", f"state must be one of {', '.join(AdapterState.values)}.")
        rows = all_of(workspace).expired() if state == AdapterState.EXPIRED else living(workspace)
        return Response({"adapters": [record for record in adapters.describe(rows) if record["state"] == state]})

    @extend_schema(
        summary="Register an adapter from a folder, from the hub, or by upload",
        request={"application/json": shapes.RegisterFromPlace, "multipart/form-data": shapes.RegisterUpload},
        responses={
            201: shapes.AdapterRecord,
            **refusals(
                *("adapter_path_forbidden", "content_not_found", "adapter_exists", "adapter_too_large"),
                *("adapter_incompatible", "checksum_mismatch", "hub_not_found", "hub_unavailable"),
            ),
        },
        examples=[
            OpenApiExample(
                "folder",
                value={"id": "my-adapter", "adapter_path": "examples/refund_policy/adapter", "pinned": False},
                request_only=True,
                media_type="application/json",
            )
        ],
    )
    def post(self, request: Request) -> Response:
        is_upload = request.content_type.startswith("multipart/")
        adapter = from_upload(request) if is_upload else from_place(request)
        note(request, "register", adapter)
        return answer(adapter, status=201)


class AdaptersStatus(APIView):
    @extend_schema(summary="Slots and states", responses=shapes.AdapterStatus)
    def get(self, request: Request) -> Response:
        status = LOCAL_BACKEND.status()
        records = adapters.describe(living(principal_of(request).workspace))
        return Response(
            {
                "max_active_loras": status.max_active_loras,
                "loaded_loras": sum(record["state"] == AdapterState.LOADED for record in records),
                "slots_used": status.slots_used,
                "slots_free": status.slots_free,
                "lora_mode": LORA_MODE,
                "base_model": runtime.model_name,
                "adapters": records,
            }
        )


class OneAdapter(APIView):
    @extend_schema(summary="Get an adapter", responses={200: shapes.AdapterRecord, **refusals("adapter_not_found")})
    def get(self, request: Request, adapter_id: str) -> Response:
        return answer(adapters.find(principal_of(request).workspace, adapter_id))

    @extend_schema(
        summary="Delete an adapter, or give up one that is still being made of a document",
        parameters=[OpenApiParameter("force", bool, description="Unload it first if it is loaded.")],
        responses={204: None, **refusals("adapter_not_found", "adapter_loaded")},
    )
    def delete(self, request: Request, adapter_id: str) -> Response:
        force = request.query_params.get("force", "false").lower()
        if force not in {"true", "false", "1", "0"}:
            raise invalid("force", "force must be true or false.")
        principal = principal_of(request)
        if internalizing.give_up(principal.workspace, adapter_id):
            audit(request, principal, "document.give_up", None, adapter_id=adapter_id)
            return Response(status=204)
        adapter = adapters.find(principal.workspace, adapter_id)
        adapters.delete(adapter, force=force in {"true", "1"})
        audit(request, principal, "adapter.delete", None, adapter_id=adapter_id)
        return Response(status=204)


class LoadAdapter(APIView):
    @extend_schema(
        summary="Load an adapter",
        request=shapes.LoadBody,
        responses={
            200: shapes.AdapterRecord,
            **refusals(
                *("adapter_not_found", "backend_not_found", "no_free_slot", "adapter_expired"),
                *("adapter_incompatible", "upstream_refused_key", "engine_not_ready", "peer_unreachable"),
            ),
        },
        examples=[OpenApiExample("pinned", value={"pin": True}, request_only=True)],
    )
    def post(self, request: Request, adapter_id: str) -> Response:
        body = shapes.LoadBody.read(request.data)
        adapter = adapters.find(principal_of(request).workspace, adapter_id)
        adapters.load(adapter, body.get("backends", (adapters.LOCAL,)), body["pin"])
        note(request, "load", adapter)
        return answer(adapter)


class UnloadAdapter(APIView):
    @extend_schema(
        summary="Unload an adapter",
        request=shapes.UnloadBody,
        responses={
            200: shapes.AdapterRecord,
            **refusals("adapter_not_found", "backend_not_found", "unload_timeout", "peer_unreachable"),
        },
        examples=[OpenApiExample("here", value={"backends": ["local"]}, request_only=True)],
    )
    def post(self, request: Request, adapter_id: str) -> Response:
        body = shapes.UnloadBody.read(request.data)
        adapter = adapters.find(principal_of(request).workspace, adapter_id)
        adapters.unload(adapter, body.get("backends"))
        note(request, "unload", adapter)
        return answer(adapter)


def all_of(workspace: Workspace) -> AdapterQuerySet:
    return Adapter.objects.filter(workspace=workspace).with_expiry()


def living(workspace: Workspace) -> AdapterQuerySet:
    """Those that can be used or made usable; the others stay for their history."""
    return all_of(workspace).unexpired()


def answer(adapter: Adapter, status: int = 200) -> Response:
    return Response(adapters.describe([adapter])[0], status=status)


def note(request: Request, verb: str, adapter: Adapter) -> None:
    audit(request, principal_of(request), f"adapter.{verb}", adapter, adapter_id=adapter.adapter_id)


def from_place(request: Request) -> Adapter:
    fields = shapes.RegisterFromPlace.read(request.data)
    if "adapter_path" in fields:
        folder = adapters.folder_under_roots(fields["adapter_path"])
        return register(request, fields, folder, f"path:{fields['adapter_path']}"[:500])
    if "content_hash" in fields:
        folder = adapters.folder_of_content(principal_of(request).workspace, fields["content_hash"])
        return register(request, fields, folder, "content")
    adapters.refuse_taken(principal_of(request).workspace, fields["id"])
    with adapters.files().staging() as folder:
        download_adapter(fields["hub_id"], folder)
        return register(request, fields, folder, f"hub:{fields['hub_id']}")


def from_upload(request: Request) -> Adapter:
    uploads = request.FILES.getlist("files")
    form = {name: value for name, value in request.POST.items() if name != "files"}
    fields = shapes.RegisterUpload.read({**form, "files": uploads})
    adapters.refuse_taken(principal_of(request).workspace, fields["id"])
    with adapters.files().staging() as folder:
        receive(uploads, folder)
        return register(request, fields, folder, "upload")


def receive(uploads: list[UploadedFile], folder: Path) -> None:
    """Write the uploaded PEFT files into `folder` under their own names."""
    names = [upload.name or "" for upload in uploads]
    for name in names:
        if name.endswith(PICKLES):
            raise ApiError(
                422,
                "adapter_incompatible",
                f"files: {name} is a pickle, which can run code; send {WEIGHTS} instead.",
                "files",
            )
    if sorted(name for name in names if name in (CONFIG, WEIGHTS)) != [CONFIG, WEIGHTS]:
        raise invalid("files", f"files must hold {CONFIG} and {WEIGHTS}, each once, under these names.")
    if sum(upload.size or 0 for upload in uploads) > settings.LAB_MAX_UPLOAD_MB * MIB:
        raise ApiError(413, "adapter_too_large", f"files: at most {settings.LAB_MAX_UPLOAD_MB} MiB are taken.", "files")
    for name, upload in zip(names, uploads, strict=True):
        if name in (CONFIG, WEIGHTS):
            with (folder / name).open("wb") as file:
                for block in upload.chunks():
                    file.write(block)


def register(request: Request, fields: dict[str, Any], folder: Path, source: str) -> Adapter:
    base_model = fields.get("base_model")
    if base_model is not None and not runtime.answers_to(base_model):
        raise ApiError(
            422,
            "adapter_incompatible",
            f"base_model: this server runs {', '.join(runtime.names)}, not {base_model!r}.",
            "base_model",
        )
    wanted = adapters.Registration(
        adapter_id=fields["id"],
        source=source,
        name=fields["name"],
        version=fields["version"],
        checksum_sha256=fields.get("checksum_sha256"),
        pinned=fields["pinned"],
    )
    return adapters.register(principal_of(request).workspace, folder, wanted)
