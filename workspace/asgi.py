import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workspace.settings")
django.setup(set_prefix=False)

from inference.openai.asgi import BearerChat  # noqa: E402  # the apps are loaded by the line above
from workspace.access_log import AccessLog  # noqa: E402
from workspace.handler import Handler  # noqa: E402

application = AccessLog(BearerChat(Handler()))
