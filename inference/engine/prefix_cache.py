"""Keys and values of prompts and chats that were computed before, for requests that begin the same."""

from torch import Tensor

from inference.engine.adapter_pool import Adapter
from inference.engine.kv_cache import KVCache
from inference.engine.recency import Recency
from inference.engine.sequence import Sequence

BLOCK = 16  # tokens that are kept, found and dropped together
FOR_REUSED = 2  # one place of so many is for blocks that were found again

Root = tuple[Adapter | None, str]


class Block:
    """A block of tokens behind all those of its parents; what it holds depends on them too."""

    __slots__ = ("children", "kv", "parent", "root", "tokens")

    def __init__(self, root: Root, parent: "Block | None", tokens: tuple[int, ...], kv: Tensor | None) -> None:
        self.root = root
        self.parent = parent
        self.tokens = tokens
        self.kv = kv
        self.children: dict[tuple[int, ...], Block] = {}


class PrefixCache:
    """A tree of blocks for each tenant on each adapter, so that neither ever finds another's.

    An adapter loaded anew under its old key is another one, for its weights may have changed. Found is what
    has the very same tokens: they are compared, not only their hashes.

    Args:
        budget_tokens: kept at most; the least recently used blocks make way, those that were found again last.
    """

    def __init__(self, kv: KVCache, budget_tokens: int) -> None:
        self.kv = kv
        self.capacity = budget_tokens // BLOCK
        self.roots: dict[Root, Block] = {}
        self.blocks: Recency[Block] = Recency(self.capacity // FOR_REUSED)  # children before their parents

    @property
    def used_tokens(self) -> int:
        return len(self.blocks) * BLOCK

    @property
    def capacity_tokens(self) -> int:
        return self.capacity * BLOCK

    def restore(self, sequence: Sequence) -> int:
        """Copy what is known of the sequence's tokens into its row, all but the last; returns how many tokens."""
        assert sequence.kv is not None
        path = self.known(sequence, len(sequence.tokens) - 1)
        for index, block in enumerate(path):
            assert block.kv is not None
            self.kv.copy_in(sequence.kv, index * BLOCK, block.kv)
        for block in reversed(path):
            self.blocks.reuse(block)
        return len(path) * BLOCK

    def save(self, sequence: Sequence) -> None:
        """Keep what the sequence has computed, as far as it fits."""
        assert sequence.kv is not None
        if sequence.computed < BLOCK or not self.capacity:
            return
        root = root_of(sequence)
        path = self.known(sequence, sequence.computed)
        self.touch(path)
        block = path[-1] if path else self.roots.setdefault(root, Block(root, None, (), None))
        for index in range(len(path), sequence.computed // BLOCK):
            if not self.make_room(path):
                break
            start, stop = index * BLOCK, (index + 1) * BLOCK
            tokens = tuple(sequence.tokens[start:stop])
            child = Block(root, block, tokens, self.kv.copy_out(sequence.kv, start, stop))
            block.children[tokens] = block = child
            self.blocks.touch(block)
            path.append(block)
        self.touch(path)

    def drop_adapter(self, adapter: Adapter) -> None:
        """Forget everything that was computed through the adapter."""
        for block in [block for block in self.blocks if block.root[0] is adapter]:
            self.blocks.remove(block)
            block.parent = None  # parents know their children: as cycles, all would stay until a full collection
        self.roots = {root: block for root, block in self.roots.items() if root[0] is not adapter}

    def known(self, sequence: Sequence, limit: int) -> list[Block]:
        """The blocks that hold the sequence's first tokens, no more than `limit`."""
        block = self.roots.get(root_of(sequence))
        path: list[Block] = []
        for start in range(0, limit - limit % BLOCK, BLOCK):
            block = block and block.children.get(tuple(sequence.tokens[start : start + BLOCK]))
            if block is None:
                break
            path.append(block)
        return path

    def touch(self, path: list[Block]) -> None:
        """Mark as used just now, parents last, so that none makes way before its children."""
        for block in reversed(path):
            self.blocks.touch(block)

    def make_room(self, path: list[Block]) -> bool:
        """Room for one more block, by forgetting another; False: the next to be forgotten is one of `path`."""
        if len(self.blocks) < self.capacity:
            return True
        block = next(iter(self.blocks))
        if block in path:
            return False
        self.blocks.remove(block)
        assert block.parent is not None
        del block.parent.children[block.tokens]
        return True


def root_of(sequence: Sequence) -> Root:
    return sequence.adapter, sequence.tenant
