"""How many prompt tokens fit into a step without the streams in it noticing."""

import numpy as np

LONGEST_STEP = 1.75  # in usual steps; answers may wait for 3, and timings scatter by half
BURST = 4  # streams that one of several who wait for their first token outweighs
LEAST = 8
WEIGHT = 0.2  # of the newest observation


class PrefillPace:
    """Learns what a step costs, and what a prompt's token adds to it, on this machine under its present load.

    What a usual step costs is kept per power of two of the number of streams, and taken from the two nearest of them.

    Args:
        most: prompt tokens in a step, however fast the machine.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.steps: dict[int, tuple[float, float]] = {}  # by the power of two: streams, seconds
        self.token_s: float | None = None

    def budget(self, streams: int, beginners: int) -> int:
        """Prompt tokens for the next step.

        Args:
            streams: answers that wait for their next token.
            beginners: requests that could have their first. One waits for its turn. A burst is let in at once where
                it outweighs the streams: at a trickle those would wait as long in all, and everyone in it longer.
        """
        if not streams or not self.steps or not self.token_s:
            return self.most
        slack = LONGEST_STEP * max(1.0, BURST * (beginners - 1) / streams) - 1
        return max(min(LEAST, self.most), min(self.most, int(slack * self.usual_s(streams) / self.token_s)))

    def observe(self, seconds: float, streams: int, prompt_tokens: int) -> None:
        """A step took so long."""
        if not prompt_tokens:
            size = streams.bit_length()
            known_streams, known_s = self.steps.get(size, (streams, seconds))
            self.steps[size] = blend(known_streams, streams), blend(known_s, seconds)
        elif prompt_tokens >= LEAST:  # of fewer, the cost drowns in the step's own
            usual_s = self.usual_s(max(streams, 1)) if self.steps else 0.0
            self.token_s = blend(self.token_s, max(0.0, seconds - usual_s) / prompt_tokens)

    def usual_s(self, streams: int) -> float:
        """A step's usual duration: between those seen with fewer and with more streams, or of the nearest."""
        known_streams, known_s = zip(*sorted(self.steps.values()), strict=True)
        return float(np.interp(streams, known_streams, known_s))


def blend(old: float | None, new: float) -> float:
    return new if old is None else old + WEIGHT * (new - old)
