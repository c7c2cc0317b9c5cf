"""`hybrie_sdk.HybrieSdkService`: the node's health, its models and what it runs on."""

import time
from collections.abc import AsyncIterator

import psutil

from inference import adapters
from inference.rpc.calls import Call, Context
from inference.rpc.generated import hybrie_sdk_pb2 as pb
from inference.rpc.generated.hybrie_sdk_pb2_grpc import HybrieSdkServiceServicer
from inference.runtime import VERSION, runtime
from inference.served import ServedModel, models_of
from inference.threads import in_thread
from workspace.errors import ApiError
from workspace.models import AdapterState, Role
from workspace.permissions import require

GIB = 1 << 30


class SdkService(HybrieSdkServiceServicer):
    async def HealthCheck(self, request: pb.HealthCheckRequest, context: Context) -> pb.HealthCheckResponse:  # noqa: N802
        """Needs no key, like `GET /v1/health`."""
        ready = runtime.ready.is_set()
        return pb.HealthCheckResponse(
            status="SERVING" if ready else "NOT_SERVING",
            message=f"serves {runtime.model_name}" if ready else "starting or stopping",
            details={"model": runtime.model_name, "version": VERSION},
        )

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:  # noqa: N802
        call = Call(context, "ListModels")
        async with call.answering(context):
            models = await in_thread(lambda: listed(call, request.include_loaded_only))
        return pb.ListModelsResponse(models=models)

    async def LoadModel(self, request: pb.LoadModelRequest, context: Context) -> pb.LoadModelResponse:  # noqa: N802
        call = Call(context, "LoadModel")
        started = time.monotonic()
        async with call.answering(context):
            error = await in_thread(lambda: loaded(call, request.model_id))
        seconds = time.monotonic() - started
        return pb.LoadModelResponse(success=not error, error_message=error, load_time_seconds=seconds)

    async def UnloadModel(self, request: pb.UnloadModelRequest, context: Context) -> pb.UnloadModelResponse:  # noqa: N802
        call = Call(context, "UnloadModel")
        async with call.answering(context):
            error = await in_thread(lambda: unloaded(call, request.model_id))
        return pb.UnloadModelResponse(success=not error, error_message=error)

    async def GetSystemInfo(self, request: pb.SystemInfoRequest, context: Context) -> pb.SystemInfoResponse:  # noqa: N802
        call = Call(context, "GetSystemInfo")
        async with call.answering(context):
            await in_thread(call.identify)
        return system_info()

    async def Generate(self, request: pb.GenerateRequest, context: Context) -> AsyncIterator[pb.GenerateResponse]:  # noqa: N802
        call = Call(context, "Generate")
        async with call.answering(context):
            raise ApiError(501, "not_implemented", "This server generates text; it makes no images.")
        yield pb.GenerateResponse()  # makes this a stream, which the error has ended


def listed(call: Call, only_loaded: bool) -> list[pb.ModelInfo]:
    """What `GET /v1/models` lists and, unless `only_loaded`, what is not ready now. Blocks."""
    workspace = call.identify().workspace
    models = models_of(workspace, with_servers=not call.hints.from_entry_node)
    return [info(model) for model in models if model.is_ready or not only_loaded]


def info(model: ServedModel) -> pb.ModelInfo:
    described = pb.ModelInfo(id=model.name, name=model.name, type="llm", variant="base", is_loaded=model.is_ready)
    if model.adapter:
        described.variant = "adapter"
        described.name = model.adapter.name or model.name
        described.size_gb = model.adapter.size_bytes / GIB
        described.description = f"LoRA adapter of {model.adapter.base_model}"
    elif model.server:
        described.description = f"served by {model.server.name}"
    return described


def loaded(call: Call, model: str) -> str:
    """Load an adapter; what went wrong, or nothing. Blocks."""
    principal = call.identify()
    require(principal, Role.MEMBER)
    if runtime.answers_to(model):
        return ""
    try:
        adapters.load(adapters.find(principal.workspace, model))
    except ApiError as error:
        return f"Model {model!r} not found." if error.code == "adapter_not_found" else error.message
    return ""


def unloaded(call: Call, model: str) -> str:
    principal = call.identify()
    require(principal, Role.MEMBER)
    if runtime.answers_to(model):
        return "The base model stays loaded while the server runs."
    try:
        adapter = adapters.find(principal.workspace, model)
        if adapter.state(False) != AdapterState.LOADED:
            return f"Model {model!r} is not loaded."
        adapters.unload(adapter)
    except ApiError as error:
        return f"Model {model!r} not loaded: it is unknown." if error.code == "adapter_not_found" else error.message
    return ""


def system_info() -> pb.SystemInfoResponse:
    engine = runtime.engine
    memory = psutil.virtual_memory()
    device = str(engine.config.device) if engine else "none"
    return pb.SystemInfoResponse(
        version=VERSION,
        capabilities=pb.SystemCapabilities(
            supported_models=runtime.names, supported_devices=[device], supports_streaming=True
        ),
        status=pb.SystemStatus(
            health="SERVING" if runtime.ready.is_set() else "NOT_SERVING",
            memory_usage_percent=memory.percent,
            active_requests=engine.stats().running if engine else 0,
            uptime_seconds=time.time() - runtime.started_at,
        ),
        devices=[
            pb.DeviceInfo(
                id=device,
                name=device,
                type=device,
                memory_total_gb=memory.total / GIB,
                memory_available_gb=memory.available / GIB,
                is_active=engine is not None,
            )
        ],
    )
