"""Django settings. Everything a person may set comes from the environment; docs/configuration.md lists it."""

import ipaddress
import os
from typing import Any

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

from workspace.home import PROJECT_ROOT, LabHome


def flag(name: str, default: bool) -> bool:
    value = os.environ.get(name, "").strip().lower()
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    if value:
        raise ImproperlyConfigured(f"{name} is {value!r}; it must be one of 1, 0, true, false, yes, no, on, off.")
    return default


def positive(name: str, default: int) -> int:
    value = os.environ.get(name) or str(default)
    if not value.isdigit() or int(value) < 1:
        raise ImproperlyConfigured(f"{name} is {value!r}; it must be a whole number of at least 1.")
    return int(value)


def words(name: str) -> list[str]:
    return [word.strip() for word in os.environ.get(name, "").split(",") if word.strip()]


def networks(name: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    try:
        return [ipaddress.ip_network(word) for word in words(name)]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}; write networks such as 10.0.0.0/8.") from None


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_https_only(origins: list[str]) -> bool:
    return bool(origins) and all(origin.startswith("https://") for origin in origins)


HOME = LabHome.from_environment()
LAB_ENCRYPTION_KEY = os.environ.get("LAB_ENCRYPTION_KEY") or None
BASE_DIR = PROJECT_ROOT
DEBUG = False
SECRET_KEY = os.environ.get("LAB_SECRET_KEY") or HOME.secret_key()

# Where it listens
LAB_HOST = os.environ.get("LAB_HOST") or "127.0.0.1"
LAB_PORT = positive("LAB_PORT", 8080)
LAB_GRPC_PORT = positive("LAB_GRPC_PORT", 9090)
BOUND_TO_LOOPBACK = is_loopback(LAB_HOST)
LAB_PRIVATE_NETWORKS = networks("LAB_PRIVATE_NETWORKS")
LAB_ALLOWED_HOSTS = words("LAB_ALLOWED_HOSTS")
ALLOWED_HOSTS = LAB_ALLOWED_HOSTS or (["localhost", "127.0.0.1", "[::1]"] if BOUND_TO_LOOPBACK else ["*"])
CSRF_TRUSTED_ORIGINS = words("LAB_TRUSTED_ORIGINS")

# What it serves
LAB_MODEL = os.environ.get("LAB_MODEL") or None
LAB_SERVED_MODEL_NAME = os.environ.get("LAB_SERVED_MODEL_NAME") or None
LAB_MODEL_ALIASES = words("LAB_MODEL_ALIASES")
LAB_MAX_ACTIVE_LORAS = positive("LAB_MAX_ACTIVE_LORAS", 16)
LAB_MAX_LORA_RANK = positive("LAB_MAX_LORA_RANK", 64)
LAB_MAX_QUEUE = positive("LAB_MAX_QUEUE", 256)
LAB_DEVICE = os.environ.get("LAB_DEVICE") or "auto"
LAB_DTYPE = os.environ.get("LAB_DTYPE") or "auto"
LAB_ADAPTER_ROOTS = words("LAB_ADAPTER_ROOTS") or [str(HOME.imports), str(PROJECT_ROOT / "examples")]
LAB_FIRST_TOKEN_TIMEOUT_S = positive("LAB_FIRST_TOKEN_TIMEOUT_S", 60)
LAB_TOKEN_TIMEOUT_S = positive("LAB_TOKEN_TIMEOUT_S", 30)
LAB_MAX_UPLOAD_MB = positive("LAB_MAX_UPLOAD_MB", 1024)

# Database and broker: manage.py starts the embedded ones and names them in these two variables
DATABASE_URL = os.environ.get("DATABASE_URL", "")
if not DATABASE_URL:
    raise ImproperlyConfigured("DATABASE_URL is not set; start through manage.py, which runs the embedded Postgres.")
EMBEDDED = flag("LAB_EMBEDDED", False)
if not DATABASE_URL.startswith(("postgres://", "postgresql://")):
    raise ImproperlyConfigured("DATABASE_URL must be a postgresql:// address; Postgres is the only database.")
DATABASES: dict[str, Any] = {"default": dict(dj_database_url.parse(DATABASE_URL))}
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True  # a restarted Postgres leaves dead connections in the pool
DATABASES["default"].setdefault("OPTIONS", {})["pool"] = {
    "min_size": 1,
    "max_size": 20,
    "timeout": 5,
    "reconnect_timeout": 2,  # then it tries anew for each request, and does not wait longer and longer
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CELERY_BROKER_URL = os.environ.get("CELERY_BROKER_URL")
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
LAB_RUN_WORKERS = flag("LAB_RUN_WORKERS", True)
CELERY_TIMEZONE = "UTC"
CELERY_TASK_ROUTES = {  # what takes minutes or hours has workers of its own, and delays nothing else
    "inference.tasks.distill_document": {"queue": "long"},
    "inference.tasks.train_hypernetwork": {"queue": "long"},
}
CELERY_BEAT_SCHEDULE = {
    "clear-expired-logins": {"task": "workspace.tasks.clear_expired_logins", "schedule": 24 * 60 * 60.0},
}

# The embedded default, bound to loopback, serves a first `curl` without a key
LAB_OPEN_LOOPBACK = flag("LAB_OPEN_LOOPBACK", EMBEDDED) and BOUND_TO_LOOPBACK

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "workspace",
    "billing",
    "inference",
]
AUTH_USER_MODEL = "workspace.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "sign_in"
LOGIN_REDIRECT_URL = "overview"
LOGOUT_REDIRECT_URL = "sign_in"

MIDDLEWARE = [
    "workspace.middleware.RequestIdMiddleware",
    "workspace.middleware.OptionalTrailingSlashMiddleware",
    "workspace.middleware.ErrorEnvelopeMiddleware",
    "workspace.content_security.ContentSecurityMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "workspace.static.StaticFilesMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
APPEND_SLASH = False
ROOT_URLCONF = "workspace.urls"
ASGI_APPLICATION = "workspace.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True
# Behind a proxy that ends TLS, as the trusted origins say, no cookie may leave over plain HTTP
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = is_https_only(CSRF_TRUSTED_ORIGINS)
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SECURE_REFERRER_POLICY = "same-origin"
DATA_UPLOAD_MAX_MEMORY_SIZE = 32 * 1024 * 1024
USE_TZ = True
TIME_ZONE = "UTC"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["workspace.authentication.PrincipalAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["workspace.permissions.HasWorkspace"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "workspace.openapi.operations.OperationSchema",
    "COERCE_DECIMAL_TO_STRING": False,  # amounts of money are JSON numbers with every digit
    "EXCEPTION_HANDLER": "workspace.error_handler.exception_handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Lab Workspace",
    "DESCRIPTION": (
        "Serve LoRA adapters from a running base model and meter every token.\n\n"
        "Send `Authorization: Bearer` with an API key (`hyb_…`), or with a CLI token (`stim_cli_…`) and "
        "`X-Business-Profile-Id`. Every refusal is `{error: {message, type, code, param}}`; `code` is stable. "
        "Every answer carries `x-request-id`. Addresses under `/api/v1/hybrie/` are those under `/v1/`."
    ),
    "TAGS": [
        {"name": "chat", "description": "The OpenAI chat API."},
        {"name": "models", "description": "What `model` may name."},
        {"name": "adapters", "description": "Register, load, pin and unload LoRA adapters."},
        {"name": "compute", "description": "The workspace's own servers."},
        {"name": "usage", "description": "The ledger and what is summed from it."},
        {"name": "billing", "description": "Bills, prices, limits, reconciliation."},
        {"name": "keys", "description": "API keys."},
        {"name": "byok", "description": "The workspace's keys at providers."},
        {"name": "account", "description": "Who the caller is."},
        {"name": "cli", "description": "Command-line logins and their session keys."},
        {"name": "audit", "description": "Who changed what."},
        {"name": "health", "description": "Readiness."},
    ],
    "VERSION": "0.1.0",
    "OAS_VERSION": "3.1.0",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "EventStatusEnum": "billing.models.Status",
        "CredentialStatusEnum": "workspace.models.ProviderCredential.Status",
        "SecretStatusEnum": ["active", "revoked", "expired"],
        "ReconciliationStatusEnum": ["reconciled", "differs"],
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "inference.openapi.paths.describe_plain_views",
        "workspace.openapi.links.link_created",
        "workspace.openapi.sharing.share_refusals",
    ],
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}
UNFOLD = {
    "SITE_TITLE": "Lab Workspace",
    "SITE_HEADER": "Lab Workspace",
    "SITE_SYMBOL": "neurology",
    "SITE_URL": "/",
    "DASHBOARD_CALLBACK": "workspace.health.with_health",
    "SIDEBAR": {"show_search": True, "show_all_applications": True},
}

# Logs: lines for people, or one JSON object a line for machines, which also get the access log
LAB_LOG_FORMAT = os.environ.get("LAB_LOG_FORMAT") or "line"
if LAB_LOG_FORMAT not in {"line", "json"}:
    raise ImproperlyConfigured(f"LAB_LOG_FORMAT is {LAB_LOG_FORMAT!r}; it must be line or json.")
LOG_LEVEL = (os.environ.get("LAB_LOG_LEVEL") or {"line": "WARNING", "json": "INFO"}[LAB_LOG_FORMAT]).upper()
LOG_FIELDS = ("asctime", "levelname", "name", "message", "request_id")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request_id": {"()": "workspace.request_ids.WithRequestId"}},
    "formatters": {
        "line": {"format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s]: %(message)s"},
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "fmt": LOG_FIELDS,
            "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
        },
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "level": LOG_LEVEL,  # Django gives its own loggers a level, which the root's does not raise
            "formatter": LAB_LOG_FORMAT,
            "filters": ["request_id"],
        }
    },
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
}
