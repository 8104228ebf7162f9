"""A process that calls the reference model whenever it is asked to: `kinelite.bench.turns`.

It has a process of its own, so that none of its memory counts for what is measured. The case comes as a line of JSON
on standard input; each further line is a number of seconds, which is answered by the milliseconds of the calls.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from kinelite.bench.case import Case
from kinelite.bench.turns import seconds, turn_ms

COMMAND = (sys.executable, "-m", "kinelite.bench.reference")
WARM_S = 1.0
"""Seconds of calls before the first that counts, and never fewer than `WARM`."""
WARM = 3


class NoReference(Exception):
    """The reference cannot be called here; the message says why."""


class Reference:
    """The process, from where it is started; leaving it ends the process. Raises `NoReference`."""

    def __init__(self, case: Case) -> None:
        """Start to call ``case.reference`` as ``case`` calls its model."""
        assert case.reference
        self.name = case.reference
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(COMMAND, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        given = asdict(replace(case, model=case.reference, reference=None))
        self._ask(json.dumps({"case": given, "spare_bytes": _released_bytes()}))

    def __call__(self, least_s: int | float) -> float:
        """Call it for that many seconds, once at least; the median in milliseconds."""
        return statistics.median(self._ask(json.dumps(least_s)))

    def __enter__(self) -> Reference:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def _end(self) -> None:
        self._process.kill()
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()

    def _ask(self, line: str) -> Any:
        pipes = self._process
        assert pipes.stdin
        assert pipes.stdout
        try:
            pipes.stdin.write(line + "\n")
            pipes.stdin.flush()
            answer = json.loads(pipes.stdout.readline() or '"its process ended"')
        except BrokenPipeError:
            answer = "its process ended"
        if isinstance(answer, str):
            self._end()
            raise NoReference(answer)
        return answer


def _released_bytes() -> int:
    """What this process held at its peak and does not hold now: it will want that again."""
    try:
        lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
        return max(0, int(lines["VmHWM"].split()[0]) - int(lines["VmRSS"].split()[0])) * 1024
    except (OSError, KeyError, ValueError):
        return 0


def main() -> None:
    """Answer until standard input ends."""
    # Libraries print, too: what they say must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(what: object) -> None:
        print(json.dumps(what), file=answers, flush=True)

    try:
        call = _prepared(json.loads(sys.stdin.readline()))
        answer([])
        for line in sys.stdin:
            answer(turn_ms(call, json.loads(line)))
    except Exception as error:  # whatever a model or a runtime raises is why there is no reference
        answer(f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}")


def _prepared(given: dict[str, Any]) -> Any:
    from kinelite.bench.child import keep_within_memory
    from kinelite.bench.devices import find

    case = Case(**given["case"])
    keep_within_memory(case.device, given["spare_bytes"])
    call = find(case.device).prepare(case).call
    calls, spent_s = 0, 0.0
    while calls < WARM or spent_s < WARM_S:
        spent_s += seconds(call)
        calls += 1
    return call


if __name__ == "__main__":
    main()
