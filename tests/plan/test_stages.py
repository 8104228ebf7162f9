"""What a stage takes, against traces of every step that a short cut stands for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinelite.config import FeaturesConfig, MemoryConfig, TrainConfig
from kinelite.plan import remedies as remedies_module
from kinelite.plan import traces as traces_module
from kinelite.plan.predict import Prediction, predict
from kinelite.plan.remedies import remedies, smaller
from kinelite.plan.stages import Planner
from kinelite.plan.step import Work
from kinelite.plan.surface import fit
from kinelite.plan.target import Target
from kinelite.plan.traces import Traces
from kinelite.plan.track import PARTS, Peak
from kinelite.recipes import conventional, sfa

MIB = 2**20
KNOWN = Traces()


def planner(config: TrainConfig, limit_mib: int = 10_000, kind: Any = "cuda", traces: Traces = KNOWN) -> Planner:
    return Planner(config.resolved(), Target(kind, limit_mib * MIB, 0, "test"), "bf16", (400,), traces)


def whole(plan: Planner, stage: int, frames: int, clips: int, stored: bool = False) -> int:
    work = Work(plan.config, replace(plan.config.stages[stage], frames=frames), (400,), clips, clips)
    return predict(replace(work, precision="bf16", target=plan.target.kind, stored=stored)).peak.total_bytes


@pytest.mark.parametrize("kind", ["cuda", pytest.param("cpu", marks=pytest.mark.slow)])
def test_four_traces_tell_all_clips_and_frames(kind: Any) -> None:
    plan = planner(conventional(model="vivit_fe_nano", frames=8, size=64, batch=3), kind=kind, traces=Traces())
    (stage,) = plan.config.stages
    found = {
        (clips, frames): plan.at_once(replace(stage, frames=frames), clips)
        for clips, frames in ((1, 8), (2, 4), (3, 12), (16, 16), (40, 4), (7, 128))
    }
    assert plan.traces.traced == 5 + 2  # a single tubelet is traced
    for (clips, frames), peak in found.items():
        assert peak == pytest.approx(whole(plan, 0, frames, clips), rel=0.005)


def test_stored_features_have_a_surface_too() -> None:
    plan = planner(sfa(model="vivit_fe_nano", frames=16, size=64, features=FeaturesConfig(mode="stored")))
    stage = plan.config.stages[1]
    encode = plan.peaks(stage, 4).encode
    assert encode is not None
    for clips, frames in ((4, 16), (64, 256)):
        expected = max(whole(plan, 1, frames, clips, stored=True), encode.total_bytes)
        assert plan.at_once(replace(stage, frames=frames), clips) == pytest.approx(expected, rel=0.005)


def test_no_surface_where_births_and_deaths_differ_or_sizes_bend(monkeypatch: pytest.MonkeyPatch) -> None:
    def levels(clips: int, frames: int) -> np.ndarray:
        return np.array([10, 10 + 3 * clips * frames, 5 * clips + frames])

    found = fit(levels, (4, 32), (8, 32))
    assert found is not None
    assert found.peak_bytes(7, 5) == pytest.approx(10 + 3 * 35)
    assert fit(lambda m, f: np.zeros(m), (4, 32), (8, 32)) is None

    def bent(work: Work) -> Prediction:
        frames = work.stage.frames or 0
        level = 1000 + work.batch * frames**2
        return Prediction(Peak(level, dict.fromkeys(PARTS, 0), ""), 1, np.array([level]))

    monkeypatch.setattr(traces_module, "predict", bent)
    plan = planner(conventional(model="vivit_fe_nano", frames=16, size=64, batch=3), traces=Traces())
    (stage,) = plan.config.stages
    assert plan.at_once(replace(stage, frames=64), 5) == 1000 + 5 * 64**2


def test_chunks_that_repeat_are_not_traced_again() -> None:
    """With repeats the peak and the operations are those of a step that is traced chunk by chunk."""
    config = sfa(model="vivit_fe_nano", frames=64, size=64, features=FeaturesConfig(mode="online")).resolved()
    work = Work(config, config.stages[1], (400,), 1, 1)  # a CPU: chunks of 16 frames
    few, many = (predict(replace(work, stage=replace(work.stage, frames=n))) for n in (32, 512))
    # From 2 chunks to 32: a vector per tubelet more, and what the part that trains does with it.
    grown = many.peak.total_bytes - few.peak.total_bytes - 480 * 3 * 64**2  # the clip itself, as bytes
    assert 0 < grown < 0.15 * few.peak.total_bytes
    per_chunk = predict(replace(work, mode="inference", stage=replace(work.stage, frames=32))).flops / 2
    assert many.flops - few.flops == pytest.approx(30 * per_chunk, rel=0.1)


@pytest.mark.parametrize("kind", [pytest.param("cuda", marks=pytest.mark.slow), "cpu"])
def test_what_fits_is_the_most_that_fits(kind: Any) -> None:
    plan = planner(conventional(model="vivit_fe_nano", frames=8, size=64, batch=4), limit_mib=64, kind=kind)
    (stage,) = plan.config.stages
    clips, frames = plan.most_clips(stage), plan.most_frames(stage, 4)
    limit = plan.target.limit_bytes
    assert whole(plan, 0, 8, clips) <= limit < whole(plan, 0, 8, clips + 1)
    assert frames % 4 == 0  # the tubelet of this model
    assert whole(plan, 0, frames, 4) <= limit < whole(plan, 0, frames + 4, 4)


def test_nothing_fits() -> None:
    plan = planner(conventional(model="vivit_fe_nano", frames=8, size=64, batch=4), limit_mib=1)
    assert plan.most_clips(plan.config.stages[0]) == 0
    assert plan.most_frames(plan.config.stages[0], 16) == 0


def test_the_table_ends_where_it_no_longer_fits() -> None:
    plan = planner(conventional(model="vivit_fe_nano", frames=8, size=64, batch=4), limit_mib=40)
    (stage,) = plan.config.stages
    cells = {(c.frames, c.clips): c.peak_bytes for c in plan.table(stage, 4)}
    assert (cells[8, 1] or 0) <= plan.target.limit_bytes
    assert cells[128, 16] is None
    for (frames, clips), peak in cells.items():
        if peak is None:
            smaller_ones = [p for (f, c), p in cells.items() if f <= frames and c <= clips and p is not None]
            assert max(smaller_ones) > plan.target.limit_bytes


def test_a_batch_that_waits_on_a_cpu_is_counted_without_being_traced() -> None:
    config = conventional(model="vivit_fe_nano", frames=8, size=64).resolved()
    work = Work(config, config.stages[0], (400,), 12, 2)
    known = Traces()
    assert known(work).total_bytes == pytest.approx(predict(work).peak.total_bytes, rel=0.002)
    assert known(work).flops_per_clip == pytest.approx(predict(work).flops / 12, rel=0.02)


def test_traces_are_kept_from_one_command_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plan" / "traces.json"
    config = conventional(model="vivit_fe_nano", frames=8, size=64, batch=4)
    first = planner(config, traces=Traces(path))
    stage = first.config.stages[0]
    expected = first.peak_bytes(stage, 4), first.at_once(stage, 9)
    first.traces.save()
    monkeypatch.setattr(traces_module, "predict", None)
    again = planner(config, traces=Traces(path))
    assert (again.peak_bytes(stage, 4), again.at_once(stage, 9)) == expected
    path.write_text("{damaged")
    assert Traces(path).traced == 0


@pytest.mark.slow  # 40 s; tests/commands/test_plan_verb.py reads the ways out that are printed
def test_ways_out_are_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remedies_module, "SIZES", (96, 64))
    monkeypatch.setattr(remedies_module, "smaller", lambda model: ["vivit_fe_nano"])
    plan = planner(conventional(model="vivit_fe_nano", frames=64, size=128, batch=4), limit_mib=96)
    (stage,) = plan.config.stages
    most, limit = plan.most_at_a_time(stage), plan.target.limit_bytes
    before = plan.peak_bytes(stage, 4)
    assert before > limit
    found = {remedy.change: remedy for remedy in remedies(plan, stage, 4)}
    assert found[f"--micro-batch {most}"].fits
    assert found[f"--micro-batch {most}"].peak_bytes == plan.peak_bytes(stage, most)
    again = planner(replace(plan.config, memory=MemoryConfig(recompute=True)))
    assert found["--memory.recompute"].peak_bytes == whole(again, 0, 64, 4)
    assert found["--memory.recompute"].same_result
    (size,) = (change for change in found if change.startswith("--size"))
    assert not found[size].same_result
    assert found[size].peak_bytes < before
    (frames,) = (change for change in found if change.startswith("frames") and "micro" not in change)
    assert found[frames].fits
    assert found["--model vivit_fe_nano"].peak_bytes == before
    for remedy in found.values():
        assert remedy.fits == (remedy.peak_bytes <= limit)


def test_smaller_models_of_a_family() -> None:
    assert smaller("vivit_fe_l")[0] == "vivit_fe_b"
    assert "vivit_fe_l" not in smaller("vivit_fe_l")
    assert smaller("x3d_l")
    assert not smaller("x3d_xs")
    assert smaller("vivit_fe:vit_tiny_patch16_224") == []


def test_stored_features_count_the_pass_that_makes_them() -> None:
    plan = planner(sfa(model="vivit_fe_nano", frames=32, size=64, epochs=30))
    stage = plan.config.stages[1]
    assert plan.stores(stage)
    peaks = plan.peaks(stage, 16)
    assert peaks.encode is not None
    assert peaks.largest.total_bytes == max(peaks.train.total_bytes, peaks.encode.total_bytes)
    assert peaks.encode.parts_bytes["optimizer"] == peaks.train.parts_bytes["optimizer"]
    assert not plan.stores(plan.config.stages[0])
    online = planner(sfa(model="vivit_fe_nano", frames=32, size=64, features=FeaturesConfig(mode="online")))
    assert online.peaks(online.config.stages[1], 16).encode is None
