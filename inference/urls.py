from django.urls import include, path

from inference.openai.chat import chat_completions
from inference.openai.models import ListModels
from inference.views import adapters, d2l, servers
from inference.views.health import health
from inference.views.metrics import metrics

training = [
    path("train/d2l", d2l.TrainD2L.as_view()),
    path("train/jobs", d2l.TrainingJobs.as_view()),
    path("train/jobs/<uuid:job_id>", d2l.OneTrainingJob.as_view()),
]
runtime_plane = [
    path("health", health),
    path("models", ListModels.as_view()),
    path("chat/completions", chat_completions),
    path("adapters", adapters.Adapters.as_view()),
    path("adapters/status", adapters.AdaptersStatus.as_view()),
    path("adapters/<str:adapter_id>", adapters.OneAdapter.as_view()),
    path("adapters/<str:adapter_id>/load", adapters.LoadAdapter.as_view()),
    path("adapters/<str:adapter_id>/unload", adapters.UnloadAdapter.as_view()),
    path("d2l/internalize", d2l.Internalize.as_view()),
    path("compute/d2l/internalize", d2l.Internalize.as_view()),
    path("d2l/internalizations", d2l.Internalizations.as_view()),
    path("d2l/internalizations/<uuid:internalization_id>", d2l.OneInternalization.as_view()),
    path("sessions/<path:session_key>", d2l.OneSession.as_view()),
    *training,
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
    path("api/v1/lab/", include(training)),
    path("api/v1/inference/chat/completions", chat_completions),
    path("api/v1/inference/models", ListModels.as_view()),
]
