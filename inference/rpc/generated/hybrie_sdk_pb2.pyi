from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GenerateRequest(_message.Message):
    __slots__ = ("prompt", "model", "width", "height", "steps", "seed", "negative_prompt", "guidance_scale", "strength", "conditioning_image", "advanced_params")
    class AdvancedParamsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_PROMPT_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_SCALE_FIELD_NUMBER: _ClassVar[int]
    STRENGTH_FIELD_NUMBER: _ClassVar[int]
    CONDITIONING_IMAGE_FIELD_NUMBER: _ClassVar[int]
    ADVANCED_PARAMS_FIELD_NUMBER: _ClassVar[int]
    prompt: str
    model: str
    width: int
    height: int
    steps: int
    seed: int
    negative_prompt: str
    guidance_scale: float
    strength: float
    conditioning_image: bytes
    advanced_params: _containers.ScalarMap[str, str]
    def __init__(self, prompt: _Optional[str] = ..., model: _Optional[str] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., steps: _Optional[int] = ..., seed: _Optional[int] = ..., negative_prompt: _Optional[str] = ..., guidance_scale: _Optional[float] = ..., strength: _Optional[float] = ..., conditioning_image: _Optional[bytes] = ..., advanced_params: _Optional[_Mapping[str, str]] = ...) -> None: ...

class GenerateResponse(_message.Message):
    __slots__ = ("progress", "result", "error")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    progress: ProgressUpdate
    result: ImageResult
    error: ErrorResponse
    def __init__(self, progress: _Optional[_Union[ProgressUpdate, _Mapping]] = ..., result: _Optional[_Union[ImageResult, _Mapping]] = ..., error: _Optional[_Union[ErrorResponse, _Mapping]] = ...) -> None: ...

class ProgressUpdate(_message.Message):
    __slots__ = ("percentage", "stage", "message", "eta_seconds")
    PERCENTAGE_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ETA_SECONDS_FIELD_NUMBER: _ClassVar[int]
    percentage: float
    stage: str
    message: str
    eta_seconds: float
    def __init__(self, percentage: _Optional[float] = ..., stage: _Optional[str] = ..., message: _Optional[str] = ..., eta_seconds: _Optional[float] = ...) -> None: ...

class ImageResult(_message.Message):
    __slots__ = ("image_data", "image_path", "metadata", "request_id")
    IMAGE_DATA_FIELD_NUMBER: _ClassVar[int]
    IMAGE_PATH_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    image_data: bytes
    image_path: str
    metadata: GenerationMetadata
    request_id: str
    def __init__(self, image_data: _Optional[bytes] = ..., image_path: _Optional[str] = ..., metadata: _Optional[_Union[GenerationMetadata, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class GenerationMetadata(_message.Message):
    __slots__ = ("model_used", "device_used", "total_time_seconds", "memory_peak_gb", "actual_steps", "timing_breakdown", "seed_used")
    class TimingBreakdownEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    MODEL_USED_FIELD_NUMBER: _ClassVar[int]
    DEVICE_USED_FIELD_NUMBER: _ClassVar[int]
    TOTAL_TIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_PEAK_GB_FIELD_NUMBER: _ClassVar[int]
    ACTUAL_STEPS_FIELD_NUMBER: _ClassVar[int]
    TIMING_BREAKDOWN_FIELD_NUMBER: _ClassVar[int]
    SEED_USED_FIELD_NUMBER: _ClassVar[int]
    model_used: str
    device_used: str
    total_time_seconds: float
    memory_peak_gb: float
    actual_steps: int
    timing_breakdown: _containers.ScalarMap[str, float]
    seed_used: int
    def __init__(self, model_used: _Optional[str] = ..., device_used: _Optional[str] = ..., total_time_seconds: _Optional[float] = ..., memory_peak_gb: _Optional[float] = ..., actual_steps: _Optional[int] = ..., timing_breakdown: _Optional[_Mapping[str, float]] = ..., seed_used: _Optional[int] = ...) -> None: ...

class ErrorResponse(_message.Message):
    __slots__ = ("code", "message", "details", "request_id")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    details: str
    request_id: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., details: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ("include_loaded_only",)
    INCLUDE_LOADED_ONLY_FIELD_NUMBER: _ClassVar[int]
    include_loaded_only: bool
    def __init__(self, include_loaded_only: _Optional[bool] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelInfo]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelInfo, _Mapping]]] = ...) -> None: ...

class ModelInfo(_message.Message):
    __slots__ = ("id", "name", "type", "variant", "is_loaded", "size_gb", "description", "supported_sizes", "recommended_steps")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    IS_LOADED_FIELD_NUMBER: _ClassVar[int]
    SIZE_GB_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    SUPPORTED_SIZES_FIELD_NUMBER: _ClassVar[int]
    RECOMMENDED_STEPS_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    type: str
    variant: str
    is_loaded: bool
    size_gb: float
    description: str
    supported_sizes: _containers.RepeatedScalarFieldContainer[str]
    recommended_steps: int
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., type: _Optional[str] = ..., variant: _Optional[str] = ..., is_loaded: _Optional[bool] = ..., size_gb: _Optional[float] = ..., description: _Optional[str] = ..., supported_sizes: _Optional[_Iterable[str]] = ..., recommended_steps: _Optional[int] = ...) -> None: ...

class LoadModelRequest(_message.Message):
    __slots__ = ("model_id", "auto_download", "device_preference")
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    AUTO_DOWNLOAD_FIELD_NUMBER: _ClassVar[int]
    DEVICE_PREFERENCE_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    auto_download: bool
    device_preference: str
    def __init__(self, model_id: _Optional[str] = ..., auto_download: _Optional[bool] = ..., device_preference: _Optional[str] = ...) -> None: ...

class LoadModelResponse(_message.Message):
    __slots__ = ("success", "error_message", "load_time_seconds", "device_used", "memory_used_gb")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LOAD_TIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_USED_FIELD_NUMBER: _ClassVar[int]
    MEMORY_USED_GB_FIELD_NUMBER: _ClassVar[int]
    success: bool
    error_message: str
    load_time_seconds: float
    device_used: str
    memory_used_gb: float
    def __init__(self, success: _Optional[bool] = ..., error_message: _Optional[str] = ..., load_time_seconds: _Optional[float] = ..., device_used: _Optional[str] = ..., memory_used_gb: _Optional[float] = ...) -> None: ...

class UnloadModelRequest(_message.Message):
    __slots__ = ("model_id",)
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    def __init__(self, model_id: _Optional[str] = ...) -> None: ...

class UnloadModelResponse(_message.Message):
    __slots__ = ("success", "error_message", "memory_freed_gb")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FREED_GB_FIELD_NUMBER: _ClassVar[int]
    success: bool
    error_message: str
    memory_freed_gb: float
    def __init__(self, success: _Optional[bool] = ..., error_message: _Optional[str] = ..., memory_freed_gb: _Optional[float] = ...) -> None: ...

class SystemInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SystemInfoResponse(_message.Message):
    __slots__ = ("version", "capabilities", "status", "devices")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    version: str
    capabilities: SystemCapabilities
    status: SystemStatus
    devices: _containers.RepeatedCompositeFieldContainer[DeviceInfo]
    def __init__(self, version: _Optional[str] = ..., capabilities: _Optional[_Union[SystemCapabilities, _Mapping]] = ..., status: _Optional[_Union[SystemStatus, _Mapping]] = ..., devices: _Optional[_Iterable[_Union[DeviceInfo, _Mapping]]] = ...) -> None: ...

class SystemCapabilities(_message.Message):
    __slots__ = ("supported_models", "supported_devices", "supported_precisions", "supports_streaming", "max_concurrent_requests")
    SUPPORTED_MODELS_FIELD_NUMBER: _ClassVar[int]
    SUPPORTED_DEVICES_FIELD_NUMBER: _ClassVar[int]
    SUPPORTED_PRECISIONS_FIELD_NUMBER: _ClassVar[int]
    SUPPORTS_STREAMING_FIELD_NUMBER: _ClassVar[int]
    MAX_CONCURRENT_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    supported_models: _containers.RepeatedScalarFieldContainer[str]
    supported_devices: _containers.RepeatedScalarFieldContainer[str]
    supported_precisions: _containers.RepeatedScalarFieldContainer[str]
    supports_streaming: bool
    max_concurrent_requests: int
    def __init__(self, supported_models: _Optional[_Iterable[str]] = ..., supported_devices: _Optional[_Iterable[str]] = ..., supported_precisions: _Optional[_Iterable[str]] = ..., supports_streaming: _Optional[bool] = ..., max_concurrent_requests: _Optional[int] = ...) -> None: ...

class SystemStatus(_message.Message):
    __slots__ = ("health", "cpu_usage_percent", "memory_usage_percent", "active_requests", "uptime_seconds")
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    CPU_USAGE_PERCENT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_USAGE_PERCENT_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    UPTIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    health: str
    cpu_usage_percent: float
    memory_usage_percent: float
    active_requests: int
    uptime_seconds: float
    def __init__(self, health: _Optional[str] = ..., cpu_usage_percent: _Optional[float] = ..., memory_usage_percent: _Optional[float] = ..., active_requests: _Optional[int] = ..., uptime_seconds: _Optional[float] = ...) -> None: ...

class DeviceInfo(_message.Message):
    __slots__ = ("id", "name", "type", "memory_total_gb", "memory_available_gb", "compute_tflops", "is_active")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_TOTAL_GB_FIELD_NUMBER: _ClassVar[int]
    MEMORY_AVAILABLE_GB_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_TFLOPS_FIELD_NUMBER: _ClassVar[int]
    IS_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    type: str
    memory_total_gb: float
    memory_available_gb: float
    compute_tflops: float
    is_active: bool
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., type: _Optional[str] = ..., memory_total_gb: _Optional[float] = ..., memory_available_gb: _Optional[float] = ..., compute_tflops: _Optional[float] = ..., is_active: _Optional[bool] = ...) -> None: ...

class HealthCheckRequest(_message.Message):
    __slots__ = ("service",)
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    service: str
    def __init__(self, service: _Optional[str] = ...) -> None: ...

class HealthCheckResponse(_message.Message):
    __slots__ = ("status", "message", "details")
    class DetailsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    status: str
    message: str
    details: _containers.ScalarMap[str, str]
    def __init__(self, status: _Optional[str] = ..., message: _Optional[str] = ..., details: _Optional[_Mapping[str, str]] = ...) -> None: ...
