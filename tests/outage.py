"""Postgres, away for the database of this test."""

import psycopg
from django.db import connection


class Outage:
    """The database refuses new connections, and those that are open end: all, or those of one application."""

    def __init__(self, application: str | None = None) -> None:
        self.application = application
        self.name = connection.settings_dict["NAME"]
        parameters = connection.get_connection_params()
        names = ("host", "port", "user", "password")
        address = {name: parameters[name] for name in names if parameters.get(name)}
        self.server = psycopg.connect(dbname="postgres", autocommit=True, **address)

    def begin(self) -> None:
        self.server.execute(f'ALTER DATABASE "{self.name}" ALLOW_CONNECTIONS false')
        self.server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = %s AND application_name = coalesce(%s, application_name)",
            [self.name, self.application],
        )

    def end(self) -> None:
        self.server.execute(f'ALTER DATABASE "{self.name}" ALLOW_CONNECTIONS true')
