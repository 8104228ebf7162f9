"""Stages of different sizes: positions go over, and the result is made for the pixels of the last one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import kinelite as kl
from kinelite import recipes
from kinelite.config import Stage
from kinelite.errors import UsageError
from kinelite.records import read_jsonl


def config(out: Path, *sizes: int | None, **fields: Any) -> Any:
    stages = tuple(Stage(f"s{i}", size=size, epochs=1) for i, size in enumerate(sizes))
    small: Any = {"data": "motion:80", "frames": 4, "size": 64, "batch": 16, "workers": 0, "device": "cpu"}
    return recipes.conventional(model="vivit_fe_nano", **(small | fields), stages=stages, out=out)


def test_small_first_ends_at_the_last_stages_size(tmp_path: Path) -> None:
    record = kl.train(config(tmp_path / "run", 32, None)).record
    assert record.size == 64
    trained = kl.load(tmp_path / "run")
    assert trained.spec.size == 64
    assert trained.model.encoder.pos_embed.shape == (1, 1 + 16, 96)
    log = "\n".join(str(row) for row in read_jsonl(tmp_path / "run" / "metrics.jsonl")[0])
    assert "nan" not in log


def test_the_first_stage_sees_its_own_size(tmp_path: Path) -> None:
    """The run ends at 32 pixels though 64 is the run's own: what a stage says wins, and what it learnt is used."""
    record = kl.train(config(tmp_path / "run", 64, 32)).record
    assert (record.size, kl.load(tmp_path / "run").spec.size) == (32, 32)


def test_a_size_that_no_patch_divides_is_refused_before_the_first_stage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"patches of 16 pixels and cannot take a size of 40. Nearest: 32 or 48"):
        kl.train(config(tmp_path / "run", None, 40))
    assert not (tmp_path / "run" / "checkpoints").exists()
