"""Device login, RFC 8628: `POST cli/device/code`, then `POST cli/device/token` until a person has decided.

Errors have the RFC's codes, as `{"detail": {"error": CODE}}` with status 400.
"""

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field
from rest_framework import exceptions, serializers
from rest_framework.parsers import FormParser, JSONParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from workspace.api.api_keys import NO_STORE
from workspace.audit import audit, client_address
from workspace.identity import Principal
from workspace.models import CliToken, DeviceGrantRefused, DeviceLogin, Membership, Role
from workspace.models.device_logins import LIFETIME, TOKEN_LIFETIME
from workspace.strict import StrictSerializer

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"
CODES_PER_ADDRESS = 60
CODES_WINDOW = timedelta(minutes=10)


@extend_schema_field({"type": "string", "enum": ["default", ""]})
class Scope(serializers.CharField):
    """One there is; others are refused with the RFC's code."""


@extend_schema_field({"type": "string", "enum": [GRANT_TYPE, ""]})
class GrantType(serializers.CharField):
    """One there is; others are refused with the RFC's code."""


class CodeRequest(StrictSerializer):
    ignores_unknown = True  # RFC 6749, section 3.2
    client_name = serializers.CharField(max_length=200, required=False, allow_blank=True, default="command line")
    scope = Scope(required=False, allow_blank=True, default="default")


class CodeAnswer(serializers.Serializer[Any]):
    device_code = serializers.CharField()
    user_code = serializers.CharField()
    verification_uri = serializers.URLField()
    verification_uri_complete = serializers.URLField()
    expires_in = serializers.IntegerField(help_text="Seconds.")
    interval = serializers.IntegerField(help_text="Seconds between polls.")


class TokenRequest(StrictSerializer):
    ignores_unknown = True
    device_code = serializers.CharField(max_length=200)
    grant_type = GrantType(required=False, allow_blank=True, default=GRANT_TYPE)


class TokenAnswer(serializers.Serializer[Any]):
    access_token = serializers.CharField()
    token_type = serializers.CharField()
    workspace_id = serializers.UUIDField()
    email = serializers.EmailField()
    expires_in = serializers.IntegerField(help_text="Seconds.")


class ErrorCode(serializers.Serializer[Any]):
    error = serializers.CharField(help_text="RFC 8628, section 3.5, or RFC 6749, section 5.2.")


class DeviceError(serializers.Serializer[Any]):
    detail = ErrorCode()


class DeviceView(APIView):
    authentication_classes = ()
    permission_classes = (AllowAny,)
    parser_classes = (JSONParser, FormParser)

    def handle_exception(self, exc: Exception) -> Response:
        unreadable = (exceptions.ParseError, exceptions.UnsupportedMediaType, exceptions.ValidationError)
        if isinstance(exc, unreadable):
            exc = DeviceGrantRefused("invalid_request")
        if isinstance(exc, DeviceGrantRefused):
            return Response({"detail": {"error": exc.code}}, status=400, headers=NO_STORE)
        return super().handle_exception(exc)


class DeviceCode(DeviceView):
    @extend_schema(
        summary="Begin a device login",
        tags=["cli"],
        auth=[],
        request=CodeRequest,
        responses={200: CodeAnswer, 400: DeviceError},
        examples=[OpenApiExample("laptop", value={"client_name": "laptop"}, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """A person opens `verification_uri`, compares the code and approves; meanwhile the client polls."""
        fields = CodeRequest.read(request.data)
        if fields["scope"] not in ("default", ""):
            raise DeviceGrantRefused("invalid_scope")
        ip = client_address(request)
        recent = DeviceLogin.objects.filter(ip=ip, created_at__gt=timezone.now() - CODES_WINDOW)
        if recent.count() >= CODES_PER_ADDRESS:
            raise DeviceGrantRefused("slow_down")
        login, device_code = DeviceLogin.start(fields["client_name"] or "command line", ip)
        page = request.build_absolute_uri("/cli")
        answer = {
            "device_code": device_code,
            "user_code": login.shown_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={login.shown_code}",
            "expires_in": int(LIFETIME.total_seconds()),
            "interval": login.interval,
        }
        return Response(answer, headers=NO_STORE)


class DeviceToken(DeviceView):
    @extend_schema(
        summary="Poll a device login",
        tags=["cli"],
        auth=[],
        request=TokenRequest,
        responses={200: TokenAnswer, 400: DeviceError},
    )
    def post(self, request: Request) -> Response:
        """The token, once, when it is approved; `authorization_pending` until then."""
        fields = TokenRequest.read(request.data)
        if fields["grant_type"] not in (GRANT_TYPE, ""):
            raise DeviceGrantRefused("unsupported_grant_type")
        login = DeviceLogin.poll(fields["device_code"])
        with transaction.atomic():
            token, secret = login.redeem()
            audit(request._request, principal_behind(token), "cli_token.create", token, name=token.name)
        answer = {
            "access_token": secret,
            "token_type": "Bearer",
            "workspace_id": token.workspace_id,
            "email": token.user.email,
            "expires_in": int(TOKEN_LIFETIME.total_seconds()),
        }
        return Response(answer, headers=NO_STORE)


def principal_behind(token: CliToken) -> Principal:
    role = Membership.objects.get(user=token.user, workspace=token.workspace).role
    return Principal(token.workspace, Role(role), "cli_token", user=token.user, cli_token=token)
