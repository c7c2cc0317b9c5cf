"""The waiting queue: whose turn it is among tenants, and first come first served within one."""

from collections import defaultdict, deque

from inference.engine.sequence import Sequence

INPUT_WEIGHT = 1
OUTPUT_WEIGHT = 2  # an answer's token takes a step of its own; both weights are the paper's


class FairQueue:
    """Virtual Token Counter (Sheng et al., arXiv 2401.00588).

    Each tenant has a counter of the tokens it was served; of those waiting, the one with the least is next. A
    tenant that comes back starts no lower than those who wait, so that idling saves up no credit.

    Attributes:
        waiting: per tenant that waits; of equals, the one who came last is next.
        served: weighted tokens per tenant that ever came.
    """

    def __init__(self) -> None:
        self.waiting: dict[str, deque[Sequence]] = {}
        self.served: defaultdict[str, int] = defaultdict(int)
        self.last_to_leave: str | None = None

    def __len__(self) -> int:
        return sum(map(len, self.waiting.values()))

    def push(self, sequence: Sequence) -> None:
        """A new request joins the end of its tenant's line."""
        if sequence.tenant not in self.waiting:
            self.lift(sequence.tenant)
            self.waiting[sequence.tenant] = deque()
        self.waiting[sequence.tenant].append(sequence)

    def push_back(self, sequence: Sequence) -> None:
        """A request that had its turn, but could not finish, goes back to the head of its tenant's line."""
        self.waiting.setdefault(sequence.tenant, deque()).appendleft(sequence)

    def lift(self, tenant: str) -> None:
        """Make up for the time that the tenant was away."""
        if self.waiting:
            floor = min(self.served[other] for other in self.waiting)
        else:
            floor = self.served[self.last_to_leave] if self.last_to_leave is not None else 0
        self.served[tenant] = max(self.served[tenant], floor)

    def next(self) -> Sequence | None:
        """Whose turn it is; stays in the queue until `remove`."""
        if not self.waiting:
            return None
        tenant = min(reversed(self.waiting), key=self.served.__getitem__)
        return self.waiting[tenant][0]

    def remove(self, sequence: Sequence) -> None:
        line = self.waiting[sequence.tenant]
        line.remove(sequence)
        if not line:
            del self.waiting[sequence.tenant]
            self.last_to_leave = sequence.tenant

    def charge(self, tenant: str, tokens: int) -> None:
        """Count `tokens`, weighted, as served to the tenant."""
        self.served[tenant] += tokens
