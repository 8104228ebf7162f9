"""The side of a `kinelite.data.crew.Crew` that does the work: ``python -m MODULE SOCKET PARENT [more ...]``.

A process of its own (not a fork, not multiprocessing's spawn) neither inherits the other side's threads nor imports the
user's script again. Messages are bytes whose meaning is the module's; nothing is unpickled.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

READY = b"ready"
STUCK_S = 60.0
"""Seconds of computing in which no other thread of this process runs at all, after which the system ends it."""


def serve(socket: str, parent: str, start: Callable[[bytes], Callable[[bytes], bytes]]) -> None:
    """Answer messages until the other side closes the connection.

    ``start`` gets the first message and returns what answers the others.
    """
    # Stopping is the other side's business: Ctrl-C and a scheduler's SIGTERM reach the whole group, and a trainer needs
    # its workers to finish the step.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(int(parent),), daemon=True).start()
    with Connection(int(socket)) as connection:
        try:
            answer = start(connection.recv_bytes())
            connection.send_bytes(READY)
            while True:
                connection.send_bytes(answer(connection.recv_bytes()))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _end_with(parent: int) -> None:
    """Leave when the other side was killed, even if a decoder hangs at that moment."""
    while os.getppid() == parent:
        # A library that spins without releasing Python's lock would keep this thread from ever looking again.
        signal.setitimer(signal.ITIMER_PROF, STUCK_S)
        time.sleep(1.0)
    os._exit(1)
