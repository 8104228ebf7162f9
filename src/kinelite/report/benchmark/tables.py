"""Tables whose cells hold a number to sort by, the text to show, and what has to be known beside it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kinelite.report.tables import NONE, Number, markdown_table


@dataclass(frozen=True)
class Cell:
    """One field of a table."""

    text: str = NONE
    value: float | None = None
    """To sort by, and what a CSV file holds; None: the text."""
    notes: tuple[str, ...] = ()
    """Footnotes."""
    kind: str = ""
    """bad: a failure. warn: to be read with care. best: on the Pareto front."""


EMPTY = Cell()


@dataclass(frozen=True)
class Head:
    """The head of a column."""

    text: str
    published: bool = False
    """Quoted from a paper."""


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first column holds names."""

    name: str
    """Of its files."""
    title: str
    about: str
    heads: Sequence[Head]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    first: str = "Model"
    footnotes: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        said = dict.fromkeys(note for _, cells in self.rows for cell in cells for note in cell.notes)
        object.__setattr__(self, "footnotes", tuple(said))

    def marks(self, cell: Cell) -> str:
        """Numbers of a cell's footnotes: '1, 3'."""
        return ", ".join(str(self.footnotes.index(note) + 1) for note in cell.notes)


def number_cell(
    value: Number | None, digits: int = 2, unit: str = "", notes: Iterable[str] = (), kind: str = ""
) -> Cell:
    """A number; a dash for None."""
    text = NONE if value is None else f"{value:.{digits}f}{unit}"
    return Cell(text, None if value is None else float(value), tuple(notes), kind)


def latency_cell(ms: float | None, notes: Iterable[str] = (), kind: str = "") -> Cell:
    """Milliseconds with three digits that count."""
    digits = 0 if ms is None or ms >= 100 else 1 if ms >= 10 else 2
    return number_cell(ms, digits, notes=notes, kind=kind)


def to_csv(table: Table) -> str:
    """CSV with numbers as they were computed, text where there is none, and a last column of notes."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([table.first, *(_said(head) for head in table.heads), "notes"])
    for name, cells in table.rows:
        values = [
            "" if cell.text == NONE else cell.text if cell.value is None else f"{cell.value:.6g}" for cell in cells
        ]
        writer.writerow([name, *values, "; ".join(dict.fromkeys(note for cell in cells for note in cell.notes))])
    return buffer.getvalue()


def to_markdown(table: Table) -> str:
    """Title, table and footnotes."""
    rows = []
    for name, cells in table.rows:
        texts = [f"{cell.text} [{table.marks(cell)}]" if cell.notes else cell.text for cell in cells]
        rows.append({table.first: name} | {_said(head): text for head, text in zip(table.heads, texts, strict=True)})
    notes = "".join(f"\n[{number}] {note}  " for number, note in enumerate(table.footnotes, start=1))
    return f"## {table.title}\n\n{table.about}\n\n{markdown_table(rows)}{notes}\n"


def _said(head: Head) -> str:
    return f"{head.text} (published)" if head.published else head.text
