"""Every stable `code` of the error envelope, with its status and what it means to a client."""

from typing import NamedTuple


class ErrorCode(NamedTuple):
    status: int
    meaning: str


ERROR_CODES = {
    # The request
    "bad_request": ErrorCode(400, "The request could not be read."),
    "invalid_json": ErrorCode(400, "The body is not a JSON object."),
    "parse_error": ErrorCode(400, "The body cannot be read as its content type says."),
    "invalid_value": ErrorCode(400, "`param` has a value that is not taken; `message` says what is."),
    "missing_required_parameter": ErrorCode(400, "`param` is required."),
    "unknown_parameter": ErrorCode(400, "`param` is not a parameter of this call."),
    "unsupported_parameter": ErrorCode(400, "`param` is known to the OpenAI API, and not served here."),
    "unsupported_value": ErrorCode(400, "`param` is served, this value of it is not."),
    "context_length_exceeded": ErrorCode(400, "The prompt does not fit the model's context."),
    "address_refused": ErrorCode(400, "The server does not connect to this address."),
    "provider_not_configured": ErrorCode(400, "There is no such provider, or no credential for it."),
    "method_not_allowed": ErrorCode(405, "The address does not answer this method; `Allow` lists those it does."),
    "not_acceptable": ErrorCode(406, "`Accept` names no type that the address answers with."),
    "request_too_large": ErrorCode(413, "The body is larger than this server takes."),
    "unsupported_media_type": ErrorCode(415, "The address does not take this content type."),
    # Who asks
    "missing_api_key": ErrorCode(401, "No credential was sent."),
    "invalid_api_key": ErrorCode(401, "The credential is unknown or revoked."),
    "api_key_expired": ErrorCode(401, "The API key has expired."),
    "permission_denied": ErrorCode(403, "The caller may not do this."),
    "role_insufficient": ErrorCode(403, "The caller's role in the workspace does not cover this."),
    "workspace_forbidden": ErrorCode(403, "The caller is not a member of the workspace it named."),
    "ip_not_allowed": ErrorCode(403, "The API key may not be used from this address."),
    "csrf_failed": ErrorCode(403, "A browser session came without its CSRF token."),
    "operator_required": ErrorCode(403, "This is for the operator: a staff user."),
    "user_required": ErrorCode(403, "This needs a person: an API key has none."),
    "cli_token_required": ErrorCode(403, "This needs a CLI token."),
    # Limits
    "credit_limit_exceeded": ErrorCode(402, "The key's credit limit or the workspace's budget does not cover this."),
    "rate_limit_exceeded": ErrorCode(429, "Too many requests or tokens in a minute; wait for `Retry-After`."),
    "database_unavailable": ErrorCode(503, "The database cannot be reached now."),
    "limits_unavailable": ErrorCode(503, "The limits cannot be checked now."),
    # Adapters and models
    "not_found": ErrorCode(404, "There is nothing at this address."),
    "model_not_found": ErrorCode(404, "No model of this name is served."),
    "adapter_not_found": ErrorCode(404, "The workspace has no adapter of this id."),
    "content_not_found": ErrorCode(404, "The workspace has no adapter with these files."),
    "adapter_exists": ErrorCode(409, "The workspace has an adapter of this id."),
    "adapter_loaded": ErrorCode(409, "The adapter is loaded; unload it first or use `force`."),
    "adapter_not_loaded": ErrorCode(409, "The adapter is registered, and loaded nowhere."),
    "adapter_not_available_on_backend": ErrorCode(409, "The adapter is not loaded where the request would run."),
    "no_free_slot": ErrorCode(409, "Every slot holds an adapter that is pinned or serving."),
    "unload_timeout": ErrorCode(409, "The adapter's requests did not finish in time; it unloads when they do."),
    "adapter_expired": ErrorCode(410, "The adapter's time to live is over."),
    "document_empty": ErrorCode(400, "The document holds no text."),
    "document_not_text": ErrorCode(400, "The document is binary."),
    "document_too_long": ErrorCode(413, "The document has too many tokens; `message` says how many are taken."),
    "hypernetwork_missing": ErrorCode(422, "There is no hypernetwork for the base model; `method` can be `distill`."),
    "internalization_not_found": ErrorCode(404, "The workspace has no internalization of this id."),
    "job_not_found": ErrorCode(404, "The workspace has no training job of this id."),
    "job_finished": ErrorCode(409, "The training job has ended already."),
    "adapter_too_large": ErrorCode(413, "The uploaded files are larger than this server takes."),
    "adapter_incompatible": ErrorCode(422, "The adapter cannot be served by this model; `param` names the field."),
    "checksum_mismatch": ErrorCode(422, "The weights are not those of `checksum_sha256`."),
    "adapter_path_forbidden": ErrorCode(403, "`adapter_path` lies under no configured root."),
    "hub_not_found": ErrorCode(422, "The hub has no such repository."),
    "hub_unavailable": ErrorCode(502, "The hub did not answer."),
    # Records
    "api_key_revoked": ErrorCode(409, "A revoked key cannot be changed."),
    "credential_exists": ErrorCode(409, "The provider has a credential of this label."),
    "backend_exists": ErrorCode(409, "The workspace has a server of this name."),
    "entry_node_exists": ErrorCode(409, "The workspace has an entry node of this name."),
    "last_owner": ErrorCode(409, "A workspace keeps at least one owner."),
    "rate_card_in_effect": ErrorCode(409, "A price in effect cannot be deleted; end it."),
    # Where requests run
    "backend_not_found": ErrorCode(404, "The workspace has no backend of this name."),
    "peer_not_found": ErrorCode(404, "The workspace has no compute peer of this id."),
    "session_not_found": ErrorCode(404, "The session is unknown or released (gRPC)."),
    "upstream_refused": ErrorCode(400, "The other server refused the request; `message` says why."),
    "queue_full": ErrorCode(429, "Too many requests wait; `Retry-After` says when to come back."),
    "upstream_busy": ErrorCode(429, "The other server takes no more requests now."),
    "not_implemented": ErrorCode(501, "This call is not served (gRPC)."),
    "upstream_failed": ErrorCode(502, "The other server failed, or its answer could not be read."),
    "upstream_refused_key": ErrorCode(502, "The other server refused the key it is called with."),
    "engine_not_ready": ErrorCode(503, "The model is loading, or the server stops."),
    "engine_stopped": ErrorCode(503, "The engine ended."),
    "peer_unreachable": ErrorCode(503, "The compute peer cannot be reached."),
    "upstream_unavailable": ErrorCode(503, "The provider cannot be reached."),
    "upstream_timeout": ErrorCode(504, "The other server was too slow."),
    "generation_failed": ErrorCode(500, "The engine failed while it answered."),
    "internal_error": ErrorCode(500, "A fault of this server; quote the request id."),
}
