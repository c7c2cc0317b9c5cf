"""`make bench`: the engine's table."""

from benchmarks.mixed_adapters import main

main()
