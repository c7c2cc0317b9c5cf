"""The engine: plain Python and torch, no Django."""

import os

# How long OpenMP's threads spin at a barrier before they sleep. With the default (some milliseconds), beside a database
# and an HTTP server on the same cores, the one that spins keeps off the one that it waits for. With 1,000 they sleep
# between any two operations, and a step takes half as long again: 55 ms for 36. libgomp reads this when torch loads it.
# The threads that run a step's layers meet by themselves (native/team.h).
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
