"""Stopping when the user or a scheduler asks for it, at a moment when nothing is lost."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from kinelite.errors import RunError


class Interrupted(RunError):
    """The user or the system asked the work to stop; what is finished was kept."""


@contextlib.contextmanager
def stop_signals(say: Callable[[str], None]) -> Iterator[Callable[[], str]]:
    """While it lasts, Ctrl-C and SIGTERM are only noted: what it yields names the first one, or nothing.

    ``say`` is told once. A second signal stops at once. Outside the main thread signals stay the caller's business.
    """
    asked: list[str] = []

    def note(number: int, _: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(signal.Signals(number).name)
        say(asked[0])

    before: dict[int, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):
                before[number] = signal.signal(number, note)
        yield lambda: asked[0] if asked else ""
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
