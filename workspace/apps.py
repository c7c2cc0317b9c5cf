from django.apps import AppConfig


class WorkspaceConfig(AppConfig):
    name = "workspace"

    def ready(self) -> None:
        from workspace import celery  # noqa: F401  # shared tasks bind to its application
        from workspace.openapi import authentication, bodies  # noqa: F401  # they register themselves
