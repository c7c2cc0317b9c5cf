"""Which rate card applies to a request."""

import uuid
from datetime import datetime

from billing.models import RateCard

# Changes with the cards: each version of a row has a place of its own and the transaction that wrote it
# (postgresql.org/docs, System Columns)
TARIFF_VERSION = """(
    SELECT coalesce(md5(string_agg(xmin::text || ctid::text, ' ' ORDER BY id)), '') FROM billing_ratecard
)"""
ALL = f"SELECT *, {TARIFF_VERSION} AS version FROM billing_ratecard"
NO_CARDS = ""
MOST_CANDIDATES = 10_000
Labels = tuple[uuid.UUID, str, str, str, str | None]


class Tariff:
    """The rate cards as they stood when it was loaded. Whether they still do, `TARIFF_VERSION` tells in a statement."""

    def __init__(self, cards: list[RateCard]) -> None:
        self.version: str = cards[0].version if cards else NO_CARDS  # type: ignore[attr-defined]  # from `ALL`
        self.cards = sorted(cards, key=lambda card: card.rank, reverse=True)
        self.candidates: dict[Labels, list[RateCard]] = {}
        self.written: dict[uuid.UUID, str] = {}

    @classmethod
    def load(cls) -> "Tariff":
        return cls(list(RateCard.objects.raw(ALL)))

    def card(
        self,
        workspace_id: uuid.UUID,
        provider: str,
        model: str,
        mode: str,
        adapter_id: str | None,
        moment: datetime,
    ) -> RateCard | None:
        """The most specific card in effect at `moment`; None where no card applies."""
        labels = (workspace_id, provider, model, mode, adapter_id)
        if labels not in self.candidates:
            if len(self.candidates) == MOST_CANDIDATES:
                self.candidates.clear()
            self.candidates[labels] = [
                card
                for card in self.cards
                if card.workspace_id in (None, workspace_id) and card.covers(provider, model, mode, adapter_id)
            ]
        return next((card for card in self.candidates[labels] if card.holds_at(moment)), None)

    def rates(self, card: RateCard) -> str:
        """The rates of a card and its id as members of a JSON object, named as the ledger's columns."""
        if card.id not in self.written:
            self.written[card.id] = (
                f'"input_rate":{card.input_rate:f},"output_rate":{card.output_rate:f},'
                f'"cached_rate":{card.rate_of_cached:f},"rate_card_id":"{card.id}"'
            )
        return self.written[card.id]
