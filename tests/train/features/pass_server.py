"""Passes that fill feature stores in forked children, some of them killed: started by test_extract_kills.py.

One JSON request per line of standard input: {"clips": folder, "out": folder, "children": [{"delay_s": kill after so
long, "point", "call": kill itself there, "pause_s": wait so long in each block}, ...]}; the children run at the same
time. One JSON answer per line: [{"signal", "code", "seconds", "passed"}, ...]. See tests/train/kill_server.py.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kill_server import Points

import kinelite.models.vivit
from kinelite.config import NetConfig, SplitConfig
from kinelite.data.sets import list_sets, load_set
from kinelite.models import create_model
from kinelite.train.features import extract as extracting
from kinelite.train.features.extract import Means, extract
from kinelite.train.features.key import make_key


def child(request: dict[str, Any], mine: dict[str, Any], pipe: int) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    torch.set_num_threads(1)
    points = Points(mine.get("point"), mine.get("call", 0))
    points.install()
    if mine.get("pause_s"):
        write = extracting.write_block

        def slowly(*arguments: Any) -> None:
            time.sleep(mine["pause_s"])
            write(*arguments)

        extracting.write_block = slowly
    torch.manual_seed(0)
    model: Any = create_model("vivit_fe_nano", num_classes=2, frames=8, size=32)
    manifest = load_set(f"folder:{request['clips']}", SplitConfig())
    key = make_key(model, manifest, net=NetConfig(), views=2, phases=1, policy="lightweight_ssv2", seed=3)
    extract(model, manifest, key, Path(request["out"]), Means(clips_per_block=2))
    os.write(pipe, json.dumps(points.passed).encode())


def fork(request: dict[str, Any], mine: dict[str, Any]) -> tuple[int, int, float]:
    inlet, outlet = os.pipe()
    began = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            child(request, mine, outlet)
            code = 0
        finally:
            os._exit(code)
    os.close(outlet)
    return pid, inlet, began


def end(pid: int, inlet: int, began: float) -> dict[str, Any]:
    status = os.waitpid(pid, 0)[1]
    seconds = time.perf_counter() - began
    with os.fdopen(inlet) as answer:
        passed = answer.read()
    killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1
    return {"signal": killed, "code": code, "seconds": seconds, "passed": json.loads(passed) if passed else {}}


def serve(request: dict[str, Any]) -> list[dict[str, Any]]:
    running = [fork(request, mine) for mine in request["children"]]
    timers = [
        threading.Timer(mine["delay_s"], os.kill, (pid, signal.SIGKILL))
        for mine, (pid, _, _) in zip(request["children"], running, strict=True)
        if mine.get("delay_s") is not None
    ]
    for timer in timers:
        timer.start()
    # Not reaped before the timers are done, so that a number cannot stand for another process by then.
    for timer in timers:
        timer.join()
    return [end(*one) for one in running]


def main() -> None:
    list_sets()
    kinelite.models.list_models()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
