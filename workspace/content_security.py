"""The Content-Security-Policy of the pages: nothing inline, nothing from elsewhere."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from workspace.middleware import Middleware

STRICT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# The admin console and the API browser are other people's pages, with scripts and styles inline
THIRD_PARTY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; font-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
THIRD_PARTY_PAGES = ("/admin/", "/api/docs")


class ContentSecurityMiddleware(Middleware):
    """Sets the policy on every answer that a browser may show."""

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        policy = THIRD_PARTY if request.path.startswith(THIRD_PARTY_PAGES) else STRICT
        response.headers.setdefault("Content-Security-Policy", policy)
        return response
