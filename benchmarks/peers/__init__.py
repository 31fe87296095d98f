"""`make bench-peers`: the engine beside every peer, one model, one machine, one run."""
