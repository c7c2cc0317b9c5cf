"""Several chats in one row behind one opening, each seeing the opening and itself: the opening is computed once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from inference.d2l.chats import Chat

CHATS_A_ROW, ROWS = 6, 4


@dataclass(frozen=True)
class Packed:
    """
    Attributes:
        tokens, positions: [rows, T], the rows padded at their ends.
        owner: [rows, T], int64: 0 for the opening, then the number of the row's chat, -1 for padding.
        answers: those tokens of all rows end to end after which a token of an answer comes.
    """

    tokens: Tensor
    positions: Tensor
    owner: Tensor
    answers: Tensor

    @classmethod
    def of(cls, opening: list[int], rows: Sequence[Sequence[Chat]]) -> "Packed":
        start = len(opening)
        width = max(start + sum(len(chat.question) - start + len(chat.answer) for chat in row) for row in rows)
        tokens = torch.zeros(len(rows), width, dtype=torch.int64)
        positions = torch.zeros_like(tokens)
        owner = torch.full_like(tokens, -1)
        answers: list[int] = []
        for index, row in enumerate(rows):
            tokens[index, :start] = torch.tensor(opening)
            positions[index, :start] = torch.arange(start)
            owner[index, :start] = 0
            first = start
            for number, chat in enumerate(row, 1):
                text = chat.question[start:] + chat.answer
                place = slice(first, first + len(text))
                tokens[index, place] = torch.tensor(text)
                positions[index, place] = torch.arange(start, start + len(text))
                owner[index, place] = number
                first = place.stop
                answers += range(index * width + first - 1 - len(chat.answer), index * width + first - 1)
        return cls(tokens, positions, owner, torch.tensor(answers))

    def mask(self, dtype: torch.dtype) -> Tensor:
        """What is added to the attention's scores: [rows, 1, T, T]."""
        seen, seeing = self.owner.unsqueeze(1), self.owner.unsqueeze(2)
        is_seen = torch.ones(self.owner.shape[1], self.owner.shape[1]).tril().bool() & ((seen == seeing) | (seen == 0))
        mask = torch.zeros(is_seen.shape, dtype=dtype).masked_fill_(~is_seen, torch.finfo(dtype).min)
        return mask.unsqueeze(1)

    def hidden(self, model: PreTrainedModel, **options: bool) -> tuple[Tensor, ...]:
        """What the model's body gives: the last hidden states first, [rows, T, hidden]."""
        found: tuple[Tensor, ...] = model.get_decoder()(
            input_ids=self.tokens.to(model.device),
            position_ids=self.positions.to(model.device),
            attention_mask=self.mask(model.dtype).to(model.device),
            use_cache=False,
            return_dict=False,
            **options,
        )
        return found

    def answer_logits(self, model: PreTrainedModel) -> Tensor:
        """The logits for the tokens of all answers end to end: [tokens, vocab], float32."""
        hidden = self.hidden(model)[0].flatten(0, 1)[self.answers.to(model.device)]
        logits: Tensor = model.get_output_embeddings()(hidden).float()
        return logits


def answer_tokens(chats: Sequence[Chat]) -> Tensor:
    """What `answer_logits` are to be compared with: the tokens of all answers end to end, int64."""
    return torch.tensor([token for chat in chats for token in chat.answer])


def rows_of(chats: Sequence[Chat]) -> Iterator[list[Sequence[Chat]]]:
    """Batches of rows of chats."""
    step = CHATS_A_ROW * ROWS
    for start in range(0, len(chats), step):
        batch = chats[start : start + step]
        yield [batch[first : first + CHATS_A_ROW] for first in range(0, len(batch), CHATS_A_ROW)]
