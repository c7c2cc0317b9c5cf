"""The OpenAPI description of the views that are no DRF views: chat and health."""
