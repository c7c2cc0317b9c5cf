"""Which tokens of which sequences the next step computes."""

from collections import Counter
from dataclasses import dataclass

from inference.engine.fair_queue import INPUT_WEIGHT, OUTPUT_WEIGHT, FairQueue
from inference.engine.kv_cache import KVCache
from inference.engine.prefix_cache import PrefixCache
from inference.engine.sequence import Sequence

EXTRA_PLACES = 4  # one for each so many of `max_running`


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next `count` tokens of a sequence that are not computed yet."""

    sequence: Sequence
    count: int

    @property
    def completes(self) -> bool:
        """Whether the sequence's next token can be sampled after this."""
        return self.count == self.sequence.missing


class Scheduler:
    """Continuous batching (Orca, OSDI 2022) with chunked prefill beside decoding (Sarathi-Serve, arXiv 2403.02310).

    A sequence joins as soon as there is a place and memory for what it holds. When memory runs out, the one
    that joined last goes back to the queue, and its tokens are computed anew later.

    A tenant of whom nothing runs finds one of a few extra places even when another tenant has filled all others.
    """

    def __init__(self, kv: KVCache, prefixes: PrefixCache, max_running: int) -> None:
        self.kv = kv
        self.prefixes = prefixes
        self.places = max_running
        self.all_places = max_running + max_running // EXTRA_PLACES
        self.waiting = FairQueue()
        self.running: list[Sequence] = []
        self.preemptions = 0

    @property
    def decoding(self) -> int:
        return sum(sequence.decoding for sequence in self.running)

    @property
    def beginning(self) -> int:
        """Sequences whose next token needs some of their prompt computed first, as far as there are places."""
        places = max(0, self.places - len(self.running))
        return len(self.running) - self.decoding + min(len(self.waiting), places)

    def add(self, sequence: Sequence) -> None:
        self.waiting.push(sequence)

    def schedule(self, prefill_tokens: int) -> list[Chunk]:
        """One token of each answer, and up to `prefill_tokens` of prompts; empty when there is nothing to do."""
        preemptions = self.preemptions
        self.make_room()
        has_room = self.preemptions == preemptions or not self.running
        chunks = [Chunk(sequence, 1) for sequence in self.running if sequence.decoding]
        prefilling = [sequence for sequence in self.running if not sequence.decoding]
        while prefill_tokens and (sequence := self.next_to_prefill(prefilling, has_room)):
            chunks.append(Chunk(sequence, min(sequence.missing, prefill_tokens)))
            prefill_tokens -= chunks[-1].count
        for chunk in chunks:
            if chunk.completes:
                self.waiting.charge(chunk.sequence.tenant, OUTPUT_WEIGHT)
        return chunks

    def make_room(self) -> None:
        """See that every answer has memory for its next token, oldest first."""
        for sequence in [sequence for sequence in self.running if sequence.decoding]:
            while sequence.kv and not self.kv.extend(sequence.kv, len(sequence.tokens)):
                self.preempt(self.victim())

    def victim(self) -> Sequence:
        """The sequence that joined last, of the tenant of whom most run."""
        of_tenant = Counter(sequence.tenant for sequence in self.running)
        return max(reversed(self.running), key=lambda sequence: of_tenant[sequence.tenant])

    def preempt(self, sequence: Sequence) -> None:
        self.release(sequence)
        self.waiting.push_back(sequence)
        self.preemptions += 1

    def next_to_prefill(self, prefilling: list[Sequence], may_admit: bool) -> Sequence | None:
        """The sequence of the tenant served least: one that is half computed, taken from the list, or a new one."""
        served = self.waiting.served
        begun = min(prefilling, key=lambda sequence: served[sequence.tenant], default=None)
        new = self.waiting.next() if may_admit else None
        if new and (begun is None or self.is_served_less(new, begun)) and self.admit(new):
            return new
        if begun:
            prefilling.remove(begun)
        return begun

    def is_served_less(self, new: Sequence, begun: Sequence) -> bool:
        served = self.waiting.served
        return new.tenant != begun.tenant and served[new.tenant] <= served[begun.tenant]

    def admit(self, sequence: Sequence) -> bool:
        """Give the sequence a place and memory for all its tokens and one more, if there are."""
        places = self.places if self.runs(sequence.tenant) else self.all_places
        if len(self.running) >= places:
            return False
        sequence.kv = self.kv.allocate(len(sequence.tokens) + 1)
        if sequence.kv is None:
            return False
        self.waiting.remove(sequence)
        self.running.append(sequence)
        sequence.computed = self.prefixes.restore(sequence)
        if not sequence.admitted:
            sequence.admitted = True
            sequence.cached = sequence.computed
            self.waiting.charge(sequence.tenant, INPUT_WEIGHT * sequence.missing)
        return True

    def runs(self, tenant: str) -> bool:
        return any(sequence.tenant == tenant for sequence in self.running)

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence that has ended, wherever it is."""
        if sequence.kv is None:
            self.waiting.remove(sequence)
        else:
            self.release(sequence)

    def release(self, sequence: Sequence) -> None:
        assert sequence.kv is not None
        if sequence.finish_reason != "error":
            self.prefixes.save(sequence)
        self.running.remove(sequence)
        self.kv.free(sequence.kv)
        sequence.kv = None
        sequence.computed = 0
