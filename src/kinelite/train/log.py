"""What a run says while it runs: metrics.jsonl for the report, lines and a bar with time left for the person."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from kinelite.records import append_jsonl, sync_file


@dataclass
class RunLog:
    """Writes rows to ``path`` and shows progress on standard error (a bar only where someone is watching)."""

    path: Path
    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False, soft_wrap=True))
    quiet: bool = False
    """Write and show nothing: another process of the run does."""
    bar: Progress | None = None
    task: TaskID | None = None

    def say(self, text: str) -> None:
        """One line for the person."""
        if not self.quiet:
            self.console.print(text, markup=False)

    def row(self, event: str, **values: Any) -> None:
        """One row for the report. Rows of steps are many: they reach the disk for good with the next other row or
        `sync`."""
        if not self.quiet:
            append_jsonl(self.path, {"event": event} | values, sync=event != "step")

    def sync(self) -> None:
        """Wait until every row is on the disk."""
        if not self.quiet:
            sync_file(self.path)

    def start(self, title: str, total: int, done: int) -> None:
        """Show a bar for a stage of ``total`` steps of which ``done`` are done."""
        self.stop()
        if self.quiet or not sys.stderr.isatty():
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self.bar = Progress(*columns, console=self.console, transient=True)
        self.bar.start()
        self.task = self.bar.add_task(title, total=total, completed=done, note="")

    def advance(self, done: int, note: str) -> None:
        """Move the bar."""
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=done, note=note)

    def stop(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.stop()
        self.bar = None
