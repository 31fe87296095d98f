"""One module for each peer: `load(folder, precision, cores)` gives a `System`, `prepare` makes the files it reads.

Each runs in the peer's own environment, so it imports nothing of the project but `benchmarks.peers.worker`.
"""
