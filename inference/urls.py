from django.urls import include, path

from inference.openai.chat import chat_completions
from inference.openai.models import ListModels
from inference.views import adapters, servers
from inference.views.health import health
from inference.views.metrics import metrics

runtime_plane = [
    path("health", health),
    path("models", ListModels.as_view()),
    path("chat/completions", chat_completions),
    path("adapters", adapters.Adapters.as_view()),
    path("adapters/status", adapters.AdaptersStatus.as_view()),
    path("adapters/<str:adapter_id>", adapters.OneAdapter.as_view()),
    path("adapters/<str:adapter_id>/load", adapters.LoadAdapter.as_view()),
    path("adapters/<str:adapter_id>/unload", adapters.UnloadAdapter.as_view()),
    path("compute/peers", servers.Peers.as_view()),
    path("compute/peers/<uuid:backend_id>", servers.OneBackend.as_view()),
    path("compute/backends", servers.Backends.as_view()),
    path("compute/backends/<uuid:backend_id>", servers.OneBackend.as_view()),
    path("compute/entry-nodes", servers.EntryNodes.as_view()),
    path("compute/entry-nodes/<uuid:node_id>", servers.OneEntryNode.as_view()),
]

urlpatterns = [
    path("metrics", metrics),
    path("v1/", include(runtime_plane)),
    path("api/v1/hybrie/", include(runtime_plane)),
    path("api/v1/inference/chat/completions", chat_completions),
    path("api/v1/inference/models", ListModels.as_view()),
]
