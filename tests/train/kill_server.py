"""Trains in forked children that are killed: started by test_resume.py as a process of its own.

A fork of a process that has imported everything costs milliseconds where a new one costs seconds, and this process has
never computed anything, so that its children start clean. One JSON request per line of standard input: {"config": file,
"delay_s": kill after so long} or {"config": file, "point": name, "call": n} (the child kills itself at the n-th time
that it passes that point of a write). One JSON answer per line: {"signal", "code", "seconds",
"passed": {point: times}}.
"""

from __future__ import annotations

import builtins
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

import kinelite.models
import kinelite.models.vivit
from kinelite import records
from kinelite.config import from_json
from kinelite.data.sets import list_sets
from kinelite.train.run import train

POINTS = ("opened", "half", "written", "replaced")


class Points:
    """Counts how often each point of an atomic write is passed, and dies at the chosen one."""

    def __init__(self, point: str | None, call: int) -> None:
        self.point, self.call = point, call
        self.passed = dict.fromkeys(POINTS, 0)

    def at(self, point: str) -> None:
        self.passed[point] += 1
        if point == self.point and self.passed[point] == self.call:
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        replace, points = os.replace, self

        class Halving:
            """A file whose content goes out in two halves."""

            def __init__(self, file: Any) -> None:
                self.file = file

            def __enter__(self) -> Halving:
                return self

            def __exit__(self, *_: object) -> None:
                self.file.close()

            def __getattr__(self, name: str) -> Any:
                return getattr(self.file, name)

            def write(self, content: bytes) -> int:
                half = len(content) // 2
                self.file.write(content[:half])
                self.file.flush()
                points.at("half")
                return half + self.file.write(content[half:])

        def opening(path: Any, mode: str = "r", **more: Any) -> Any:
            file = builtins.open(path, mode, **more)  # noqa: SIM115  (the caller closes it)
            if "b" not in mode:
                return file
            points.at("opened")
            return Halving(file)

        def replacing(source: Any, target: Any) -> None:
            points.at("written")
            replace(source, target)
            points.at("replaced")

        records.open = opening  # type: ignore[attr-defined]
        os.replace = replacing


def child(request: dict[str, Any], pipe: int) -> int:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    torch.set_num_threads(1)
    points = Points(request.get("point"), request.get("call", 0))
    points.install()
    train(from_json(json.loads(Path(request["config"]).read_text())), command="kinelite train sfa")
    os.write(pipe, json.dumps(points.passed).encode())
    return 0


def serve(request: dict[str, Any]) -> dict[str, Any]:
    inlet, outlet = os.pipe()
    began = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            code = child(request, outlet)
        finally:
            os._exit(code)
    os.close(outlet)
    if request.get("delay_s") is not None:
        time.sleep(request["delay_s"])
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    seconds = time.perf_counter() - began
    with os.fdopen(inlet) as answer:
        passed = answer.read()
    killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1
    return {"signal": killed, "code": code, "seconds": seconds, "passed": json.loads(passed) if passed else {}}


def main() -> None:
    list_sets()
    kinelite.models.list_models()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
