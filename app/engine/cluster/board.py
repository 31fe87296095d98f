"""Which replicas run: written by the router, which Serve makes and tells, and read by the client.

It cannot stand in the router's module: Serve sends that by value, so the one in use is not the one that others import.
For the same reason the router must reach it through this module, and not import it by its name.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.engine.cluster.messages import Replica


@dataclass(slots=True)
class Board:
    replicas: tuple[Replica, ...] = ()


BOARD = Board()
"""One for all of a process's routers: they are told the same."""
