"""What a model says, kept to compare with what it says after a change."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from inference.d2l.chats import Chat
from inference.d2l.packed import Packed, rows_of

LIKELIEST = 64  # tokens whose probabilities are kept; all others count as one


@dataclass(frozen=True)
class Teacher:
    """
    Attributes:
        shares, tokens: for each token of each chat's answer the probabilities of the likeliest tokens, and these:
            [answer, LIKELIEST] each.
    """

    shares: Sequence[Tensor]
    tokens: Sequence[Tensor]

    @classmethod
    @torch.no_grad()
    def of(cls, model: PreTrainedModel, opening: list[int], chats: Sequence[Chat]) -> "Teacher":
        shares: list[Tensor] = []
        tokens: list[Tensor] = []
        for rows in rows_of(chats):
            likeliest = Packed.of(opening, rows).answer_logits(model).softmax(dim=1).topk(LIKELIEST)
            lengths = [len(chat.answer) for row in rows for chat in row]
            shares += likeliest.values.split(lengths)
            tokens += likeliest.indices.split(lengths)
        return cls(shares, tokens)

    def divergence(self, chosen: Sequence[int], logits: Tensor) -> Tensor:
        """KL(teacher || student) for the answers of the chosen chats end to end, logits [tokens, vocab]."""
        shares = torch.cat([self.shares[each] for each in chosen])
        said = logits.log_softmax(dim=1).gather(1, torch.cat([self.tokens[each] for each in chosen]))
        others, said_others = (1 - part.sum(dim=1).clamp(max=1 - 1e-6) for part in (shares, said.exp()))
        likeliest = (shares * (shares.clamp(min=1e-9).log() - said)).sum(dim=1)
        return (likeliest + others * (others.log() - said_others.log())).mean()
