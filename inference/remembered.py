"""What was last known of requests, for those that come while Postgres is away.

Only what a request without limits needs may be old: a limit, or an adapter's time to live, is the database's to judge.
A key that is revoked on this server is forgotten at once.
"""

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from django.db.models.signals import post_save
from django.dispatch import receiver

from workspace.models import ApiKey

if TYPE_CHECKING:
    from inference.facts import Facts, Question

FOR_S = 600
MOST = 10_000


class Remembered:
    """Used on one event loop; `forget` on any thread."""

    def __init__(self) -> None:
        self.answers: OrderedDict[Question, tuple[float, Facts]] = OrderedDict()

    def keep(self, question: "Question", facts: "Facts | None") -> None:
        self.answers.pop(question, None)
        if facts is None or facts.is_limited or any(each.adapter.expires_at for each in facts.adapters.values()):
            return
        self.answers[question] = time.monotonic(), facts
        while len(self.answers) > MOST:
            self.answers.popitem(last=False)

    def recall(self, question: "Question") -> "Facts | None":
        kept_at, facts = self.answers.get(question, (0.0, None))
        return facts if time.monotonic() - kept_at < FOR_S else None

    def forget(self, key: ApiKey) -> None:
        for question, (_, facts) in list(self.answers.items()):
            if facts.api_key == key:
                self.answers.pop(question, None)


remembered = Remembered()


@receiver(post_save, sender=ApiKey)
def forget_what_has_changed(instance: ApiKey, update_fields: frozenset[str] | None, **_: Any) -> None:
    if update_fields != {"last_used_at"}:
        remembered.forget(instance)
