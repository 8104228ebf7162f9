"""Many looks at once, in processes: a file that hangs or crashes a decoder costs that clip."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from kinelite.data.check.look import Ask, Depth, Look, look
from kinelite.data.crew import LIMIT_S, Crew, Lost
from kinelite.data.manifest import Row
from kinelite.data.messages import decode, encode


def look_at(rows: Sequence[Row], depth: Depth, workers: int, limit_s: float = LIMIT_S) -> Iterator[tuple[int, Look]]:
    """(place in ``rows``, what was found) of each clip, in the order in which the looks end.

    ``workers``: processes; 0 looks in this one, without a limit. Raises SetupError where processes cannot start.
    """
    if workers <= 0:
        yield from ((number, look(row, depth)) for number, row in enumerate(rows))
        return
    asks = ((number, encode(Ask(row.path, row.start_s, row.end_s, depth))) for number, row in enumerate(rows))
    with contextlib.closing(Crew("kinelite.data.check.look", b"", min(workers, len(rows)), limit_s)) as crew:
        for number, answer in crew.each(asks):
            yield number, _lost(answer) if isinstance(answer, Lost) else decode(answer, Look)


def _lost(lost: Lost) -> Look:
    if lost.late:
        return Look(((f"{lost.how} to look at", "error"),), lost="late")
    return Look(((f"ends the program that decodes it ({lost.how})", "error"),), lost="killed")
