"""What the processes of a test do, as torchrun starts them: python together.py JOBS.json

JOBS is a list of {"train": config}, with "signal", "rank" and "step" for a process that gets one in mid-run and "catch"
where it is meant to end so; of {"eval": RUN, "on": SPLIT, "batch": N, "out": FOLDER}; and of {"verb": ["features",
"make", ...]}. Each process writes its answers beside it: answers-RANK.json.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from kinelite.cli import main
from kinelite.config import from_json
from kinelite.errors import RunError
from kinelite.ranks import find_ranks
from kinelite.train.assess import assess
from kinelite.train.job import Job
from kinelite.train.run import train


def end_at(step: int, number: int) -> None:
    """Send this process a signal before it agrees on the step, once in a run: a restarted one goes on."""
    before = Job.agree

    def agree(self: Job, loss: float) -> float:
        mark = Path(self.out) / "hit"
        if self.progress.step == step and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), number)
        return before(self, loss)

    Job.agree = agree  # type: ignore[method-assign]


def answer(job: dict[str, Any]) -> Any:
    if "train" in job:
        if "signal" in job and find_ranks().rank == job["rank"]:
            end_at(job["step"], signal.Signals[job["signal"]].value)
        try:
            return train(from_json(job["train"])).status
        except RunError as error:
            if "catch" not in job:
                raise
            return str(error)
    if "verb" in job:
        return main(job["verb"])
    record = assess(job["eval"], on=job["on"], batch=job["batch"], workers=0, device="cpu", out=Path(job["out"]))
    return record.scored


if __name__ == "__main__":
    file = Path(sys.argv[1])
    answers = [answer(job) for job in json.loads(file.read_text())]
    file.with_name(f"answers-{find_ranks().rank}.json").write_text(json.dumps(answers))
