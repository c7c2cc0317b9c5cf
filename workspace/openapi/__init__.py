"""The OpenAPI description of the HTTP API: what drf-spectacular cannot read off the views."""
