"""The engine: plain Python and torch, no Django."""

import os

# OpenMP's threads spin at every barrier by default. Beside a database, workers and an HTTP server on the same cores,
# the one that spins keeps off the one that it waits for: a decode step was measured at 258 ms with the default and at
# 111 ms with a short spin, on two busy cores. libgomp reads this when torch loads it.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
