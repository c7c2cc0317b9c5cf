"""The pages of the runtime."""

from django.urls import path

from inference.pages import adapters, documents, jobs, playground, servers

urlpatterns = [
    path("adapters", adapters.adapter_list, name="adapters"),
    path("adapters/<str:adapter_id>", adapters.adapter_detail, name="adapter"),
    path("adapters/<str:adapter_id>/load", adapters.load_adapter, name="load_adapter"),
    path("adapters/<str:adapter_id>/unload", adapters.unload_adapter, name="unload_adapter"),
    path("adapters/<str:adapter_id>/delete", adapters.delete_adapter, name="delete_adapter"),
    path("documents", documents.documents, name="documents"),
    path("documents/end-session", documents.end_session, name="end_session"),
    path("documents/<uuid:internalization_id>", documents.document, name="document"),
    path("jobs", jobs.jobs, name="jobs"),
    path("jobs/<uuid:job_id>", jobs.job, name="job"),
    path("jobs/<uuid:job_id>/cancel", jobs.cancel_job, name="cancel_job"),
    path("backends", servers.backends, name="backends"),
    path("backends/<uuid:backend_id>/probe", servers.probe_backend, name="probe_backend"),
    path("backends/<uuid:backend_id>/remove", servers.remove_backend, name="remove_backend"),
    path("backends/nodes", servers.admit_node, name="admit_node"),
    path("backends/nodes/<uuid:node_id>/turn-away", servers.turn_away_node, name="turn_away_node"),
    path("playground", playground.playground, name="playground"),
]
