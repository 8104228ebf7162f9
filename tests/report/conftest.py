"""Run folders as training writes them, made in milliseconds."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kinelite.records import EvalRecord, TrainRecord, append_jsonl, write_json

# The smallest JPEG that decoders accept: one grey pixel.
JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP//////////////////////////////////////////////////////////////////////////////"
    "////////wAALCAABAAEBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAA//EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AN//Z"
)
STAGES = {
    "conventional": [("train", 32, 4, 2.0, ())],
    "sfa": [("short", 8, 3, 0.5, ()), ("long", 32, 2, 0.25, ("encoder.*",))],
}

MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """make_run(recipe, seed, classes=..., top1=...) -> the folder of a finished run under tmp_path/runs."""

    def make(recipe: str, seed: int, classes: tuple[str, ...] = ("left", "right"), top1: float = 0.9) -> Path:
        folder = tmp_path / "runs" / f"{recipe}-{seed}"
        config = {"recipe": recipe, "seed": seed, "out": folder.as_posix(), "frames": 32, "optim": {"lr": _lr(recipe)}}
        seconds = _metrics(folder, recipe, top1)
        common: dict[str, Any] = {"model": "vivit_fe_ti", "data": "motion", "top1": top1, "config": config}
        train = TrainRecord(
            **common,
            recipe=recipe,
            train_seconds=seconds + seed,
            peak_memory_gib=1.5,
            trained_params=900_000,
            params=6_400_000,
            frames=32,
            seed=seed,
            device="cpu",
            stages=[{"name": n, "frames": f, "epochs": e, "froze": list(z)} for n, f, e, _, z in STAGES[recipe]],
            command=f"kinelite train {recipe} --seed {seed}",
            environment={"cpu": "Some CPU", "torch": "2.0"},
        )
        write_json(folder / "record.json", train)
        write_json(folder / "config.json", config)
        write_json(folder / "eval.json", EvalRecord(**common, **_evaluation(folder, classes)))
        return folder

    return make


def _lr(recipe: str) -> float:
    return 0.001 if recipe == "sfa" else 0.0005


def _metrics(folder: Path, recipe: str, top1: float) -> float:
    path, train_s, step = folder / "metrics.jsonl", 0.0, 0
    for stage, (name, frames, epochs, seconds, froze) in enumerate(STAGES[recipe]):
        at = {"stage": stage, "stage_name": name}
        append_jsonl(path, {"event": "stage", "frames": frames, "froze": froze, "train_s": train_s} | at)
        for epoch in range(epochs):
            for loss in (1.0 / (epoch + 1), 0.5 / (epoch + 1)):
                step, train_s = step + 1, train_s + seconds
                row = {"event": "step", "epoch": epoch, "step": step, "loss": loss, "train_s": train_s}
                append_jsonl(path, row | at)
            row = {"event": "eval", "epoch": epoch + 1, "step": step, "train_s": train_s}
            row["top1"] = top1 * (epoch + 1) / epochs
            append_jsonl(path, row | at)
    return train_s


def _evaluation(folder: Path, classes: tuple[str, ...]) -> dict[str, Any]:
    (folder / "strips").mkdir(parents=True, exist_ok=True)
    (folder / "strips" / "worst-00.jpg").write_bytes(JPEG)
    worst = {"path": f"clips/{classes[0]}.mp4", "label": classes[0], "predicted": classes[-1], "confidence": 0.875}
    k = len(classes)
    return {
        "split": "val",
        "ece": 0.034,
        "clips": f"{10 * k} of {10 * k + 1}",
        "views": "1x1",
        "classes": list(classes),
        "per_class": {name: {"top1": 0.9, "clips": 10} for name in classes},
        "confusion": [[9 if i == j else int((i + 1) % k == j) for j in range(k)] for i in range(k)],
        "worst": [worst | {"strip": "strips/worst-00.jpg"}],
        "skipped": [{"path": f"clips/broken {classes[0]}.mp4", "reason": "no video stream"}],
    }
