"""A progress bar for the verbs that go through many clips."""

from __future__ import annotations

import sys
from collections.abc import Callable

from kinelite.ranks import find_ranks


class bar:
    """A progress bar on standard error, where someone is watching."""

    def __init__(self, title: str) -> None:
        self.title = title

    def __enter__(self) -> Callable[[int, int], None]:
        from rich.console import Console
        from rich.progress import Progress

        self.progress = Progress(
            console=Console(stderr=True), transient=True, disable=not (sys.stderr.isatty() and find_ranks().first)
        )
        self.progress.start()
        task = self.progress.add_task(self.title, total=None)
        return lambda done, total: self.progress.update(task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        self.progress.stop()
