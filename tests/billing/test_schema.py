from io import StringIO

from django.core.management import call_command


def test_models_and_migrations_agree(db: None) -> None:
    call_command("makemigrations", "billing", check=True, dry_run=True, stdout=StringIO())
