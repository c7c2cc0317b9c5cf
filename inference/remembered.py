"""What was last known of requests, for those that come while Postgres is away.

Only what a request without limits needs may be old: a limit, an adapter's time to live, whether its session has ended,
and the login that a key was made from are the database's to judge.
A key that is revoked on this server is forgotten at once.
"""

import threading
import time
from collections import OrderedDict
from typing import Any

from django.db.models.signals import post_save
from django.dispatch import receiver

from inference.facts import Facts, Question
from workspace.models import ApiKey

FOR_S = 600
MOST = 10_000


class Remembered:
    """Safe on any thread."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.answers: OrderedDict[Question, tuple[float, Facts]] = OrderedDict()

    def keep(self, question: Question, facts: Facts | None) -> None:
        with self.lock:
            self.answers.pop(question, None)
            if facts is not None and may_be_old(facts):
                self.answers[question] = time.monotonic(), facts
            if len(self.answers) > MOST:
                self.answers.popitem(last=False)

    def recall(self, question: Question) -> Facts | None:
        kept_at, facts = self.answers.get(question, (0.0, None))
        return facts if time.monotonic() - kept_at < FOR_S else None

    def forget(self, key: ApiKey) -> None:
        with self.lock:
            for question in [question for question, (_, facts) in self.answers.items() if facts.api_key == key]:
                del self.answers[question]


def may_be_old(facts: Facts) -> bool:
    is_of_login = facts.api_key is not None and facts.api_key.login_id is not None
    may_end = any(known.adapter.expires_at or known.adapter.session_key for known in facts.adapters.values())
    return not (facts.is_limited or is_of_login or may_end)


remembered = Remembered()


@receiver(post_save, sender=ApiKey)
def forget_what_has_changed(instance: ApiKey, update_fields: frozenset[str] | None, **_: Any) -> None:
    if update_fields != {"last_used_at"}:
        remembered.forget(instance)
