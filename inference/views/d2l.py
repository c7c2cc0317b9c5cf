"""The Doc-to-LoRA endpoints of the contract's section 5."""

from uuid import UUID

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference import internalizing, sessions, training_jobs
from inference.views import d2l_shapes as shapes
from workspace.api.requests import number
from workspace.audit import audit
from workspace.models import Internalization, TrainingJob
from workspace.openapi.refusals import refusals
from workspace.permissions import principal_of

MOST_LISTED = 200


class Internalize(APIView):
    @extend_schema(
        summary="Turn a document into an adapter",
        request=shapes.NewInternalization,
        responses={
            200: shapes.InternalizationRecord,
            202: shapes.InternalizationRecord,
            **refusals(
                *("document_empty", "document_not_text", "document_too_long", "hypernetwork_missing"),
                *("adapter_exists", "adapter_incompatible", "no_free_slot", "engine_not_ready"),
                *("adapter_expired", "credit_limit_exceeded"),
            ),
        },
        examples=[
            OpenApiExample(
                "refund policy",
                value={
                    "document_text": "Customers may return goods within 45 days of delivery.",
                    "name": "Refund policy",
                    "ttl_seconds": 3600,
                    "session_key": "visitor-17",
                },
                request_only=True,
            )
        ],
    )
    def post(self, request: Request) -> Response:
        fields = shapes.NewInternalization.read(request.data)
        principal = principal_of(request)
        row = internalizing.internalize(principal.workspace, shapes.wanted(fields), principal.api_key)
        audit(request, principal, "document.internalize", row, adapter_id=row.wanted_id, method=row.method)
        return Response(row.to_dict(), status=202 if row.status == Internalization.Status.RUNNING else 200)


class Internalizations(APIView):
    @extend_schema(
        summary="List internalized documents, the newest first",
        parameters=[
            OpenApiParameter("session_key", str, description="Only those of this session."),
            OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": MOST_LISTED, "default": 50}),
        ],
        responses=shapes.InternalizationList,
    )
    def get(self, request: Request) -> Response:
        rows = Internalization.objects.filter(workspace=principal_of(request).workspace).with_expiry()
        session_key = request.query_params.get("session_key")
        if session_key is not None:
            rows = rows.filter(session_key=shapes.readable("session_key", session_key))
        limit = number(request, "limit", 50, 1, MOST_LISTED)
        return Response({"internalizations": [row.to_dict() for row in rows[:limit]]})


class OneInternalization(APIView):
    @extend_schema(
        summary="Get an internalization",
        responses={200: shapes.InternalizationRecord, **refusals("internalization_not_found")},
    )
    def get(self, request: Request, internalization_id: UUID) -> Response:
        return Response(internalizing.find(principal_of(request).workspace, internalization_id).to_dict())


class OneSession(APIView):
    @extend_schema(
        summary="End a session: expire all of its adapters",
        responses={200: shapes.EndedSession},
    )
    def delete(self, request: Request, session_key: str) -> Response:
        principal = principal_of(request)
        key = shapes.readable("session_key", session_key)
        expired = sessions.end(principal.workspace, key)
        audit(request, principal, "session.end", None, session_key=key, adapters=len(expired))
        return Response({"session_key": key, "expired": expired})


class TrainD2L(APIView):
    @extend_schema(
        summary="Train a hypernetwork for the base model",
        request=shapes.NewTraining,
        responses={202: shapes.TrainingRecord, **refusals("model_not_found")},
        examples=[OpenApiExample("short", value={"hyperparams": {"num_examples": 4800}}, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        fields = shapes.NewTraining.read(request.data)
        principal = principal_of(request)
        job = training_jobs.begin(principal.workspace, shapes.training_settings(fields))
        audit(request, principal, "training.begin", job, **job.settings)
        return Response(job.to_dict(), status=202)


class TrainingJobs(APIView):
    @extend_schema(summary="List training jobs, the newest first", responses=shapes.TrainingList)
    def get(self, request: Request) -> Response:
        jobs = TrainingJob.objects.filter(workspace=principal_of(request).workspace)
        return Response({"jobs": [job.to_dict() for job in jobs[:MOST_LISTED]]})


class OneTrainingJob(APIView):
    @extend_schema(summary="Get a training job", responses={200: shapes.TrainingRecord, **refusals("job_not_found")})
    def get(self, request: Request, job_id: UUID) -> Response:
        return Response(training_jobs.find(principal_of(request).workspace, job_id).to_dict())

    @extend_schema(
        summary="Cancel a training job",
        responses={200: shapes.TrainingRecord, **refusals("job_not_found", "job_finished")},
    )
    def delete(self, request: Request, job_id: UUID) -> Response:
        principal = principal_of(request)
        job = training_jobs.find(principal.workspace, job_id)
        training_jobs.cancel(job)
        audit(request, principal, "training.cancel", job)
        return Response(training_jobs.find(principal.workspace, job_id).to_dict())
