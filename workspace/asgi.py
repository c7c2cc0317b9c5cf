import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workspace.settings")
django_application = get_asgi_application()

from inference.openai.asgi import BearerChat  # noqa: E402  # the apps are loaded by the line above
from workspace.access_log import AccessLog  # noqa: E402

application = AccessLog(BearerChat(django_application))
