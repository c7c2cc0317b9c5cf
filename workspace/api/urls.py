"""The console plane, under `api/v1/`."""

from django.urls import path

from workspace.api import account, api_keys, audit_log, byok, cli_tokens, device, session_keys

urlpatterns = [
    path("users/me", account.UsersMe.as_view()),
    path("business-profiles", account.BusinessProfiles.as_view()),
    path("workspace/api-keys", api_keys.ApiKeys.as_view()),
    path("workspace/api-keys/<uuid:key_id>", api_keys.OneApiKey.as_view()),
    path("workspace/byok", byok.Byok.as_view()),
    path("workspace/byok/<uuid:credential_id>", byok.OneCredential.as_view()),
    path("workspace/byok/<uuid:credential_id>/verify", byok.VerifyCredential.as_view()),
    path("workspace/audit", audit_log.AuditLog.as_view()),
    path("cli/device/code", device.DeviceCode.as_view()),
    path("cli/device/token", device.DeviceToken.as_view()),
    path("cli/tokens", cli_tokens.CliTokens.as_view()),
    path("cli/tokens/<uuid:token_id>", cli_tokens.OneCliToken.as_view()),
    path("cli/inference/session-key", session_keys.SessionKeys.as_view()),
    path("cli/inference/session-key/revoke", session_keys.RevokeSessionKeys.as_view()),
]
