"""The measurement of input pipelines: the same work for all, rounds in turn, ratios from rounds side by side."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from kinelite.bench import peers
from kinelite.bench.input import OurPipeline, measure, pipelines, ratios, stage_table
from kinelite.bench.peers import PeerClips, PeerPipeline, transforms
from kinelite.cli import main
from kinelite.data.augment import POLICIES, policy
from kinelite.data.dataset import Reading, Sample
from kinelite.data.decode import decoder_in_use, read_clip
from kinelite.data.manifest import Row
from kinelite.data.sets import load_any
from kinelite.errors import DataError
from kinelite.types import InputSpec

READING = Reading(InputSpec(4, 32), "lightweight_kinetics", remember=False)


@pytest.fixture(scope="module")
def rows(clip_folder: Path) -> tuple[Row, ...]:
    return load_any(str(clip_folder)).rows


class Fake:
    """A pipeline that writes down what it was asked to read."""

    def __init__(self, name: str, seen: list[tuple[str, tuple[int, ...]]]) -> None:
        self.name, self.seen = name, seen

    def epoch(self, order: Sequence[int]) -> Iterator[int]:
        self.seen.append((self.name, tuple(order)))
        yield len(order)

    def stages_s(self, order: Sequence[int]) -> dict[str, float]:
        return {"decode": 0.002 * len(order)}

    def close(self) -> None:
        pass


def test_all_pipelines_read_the_same_clips_in_turn() -> None:
    seen: list[tuple[str, tuple[int, ...]]] = []
    found = measure([Fake("a", seen), Fake("b", seen)], clips=5, rounds=3, each=12, say=lambda _: None)
    assert [name for name, _ in seen] == ["a", "b"] * 4
    for first, second in zip(seen[::2], seen[1::2], strict=True):
        assert first[1] == second[1]
    orders = [order for _, order in seen[2::2]]
    assert [len(order) for order in orders] == [12] * 3
    assert all(set(order) == set(range(5)) for order in orders)
    assert all(order.count(clip) <= 3 for order in orders for clip in range(5)), "clips take turns"
    assert len(set(orders)) == 3
    assert [len(row["rounds"]) for row in found] == [3, 3]


def test_ratios_come_from_rounds_side_by_side() -> None:
    rows = [{"pipeline": "ours", "rounds": [10.0, 40.0, 30.0]}, {"pipeline": "peer", "rounds": [5.0, 10.0, 10.0]}]
    ratios(rows, "peer")
    assert (rows[0]["ratio"], rows[0]["ratio_min"], rows[0]["ratio_max"]) == (3.0, 2.0, 4.0)
    assert rows[1]["ratio"] == 1.0
    assert rows[0]["against"] == "peer"


def test_stages_are_milliseconds_per_clip() -> None:
    assert stage_table([Fake("a", [])], 5, 7) == {"a": {"decode": pytest.approx(2.0)}}


def test_our_own_pipeline_reads_every_clip_of_the_order(rows: tuple[Row, ...]) -> None:
    ours = OurPipeline("ours", rows, READING, workers=1, batch=4)
    try:
        assert list(ours.epoch([3, 1, 2, 3, 0])) == [4, 1]
        assert set(ours.stages_s([0, 1])) >= {"decode", "augment", "pack", "collate"}
    finally:
        ours.close()


def test_a_clip_that_cannot_be_read_ends_the_measurement(rows: tuple[Row, ...], tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    ours = OurPipeline("ours", (*rows, Row(str(tmp_path / "bad.mp4"), (0,), "all")), READING, workers=0, batch=4)
    with pytest.raises(DataError, match=r"bad\.mp4"):
        list(ours.epoch([0, len(rows)]))


def test_the_peer_does_the_whole_policy() -> None:
    names = [type(step).__name__ for step in transforms(policy("lightweight_kinetics"), 32).transforms]
    assert names == ["Resize", "RandomHorizontalFlip", "RandomAffine", "ColorJitter", "RandomErasing"]
    vertical = [type(step).__name__ for step in transforms(policy("lightweight_epic"), 32).transforms]
    assert "RandomVerticalFlip" in vertical
    frames = torch.zeros(4, 3, 40, 50, dtype=torch.uint8)
    result = transforms(policy("lightweight_kinetics"), 32)(frames)
    assert (result.shape, result.dtype) == ((4, 3, 32, 32), torch.uint8)


@pytest.mark.parametrize("name", list(peers.PEERS))
def test_peers_decode_the_same_moments(rows: tuple[Row, ...], name: str) -> None:
    if (reason := peers.missing(name)) is not None:
        pytest.skip(reason)
    theirs = peers.PEERS[name][1](rows[0], 4, np.random.default_rng(3))
    ours = read_clip(rows[0].path, 4, rng=np.random.default_rng(3))
    assert theirs.shape == (4, 3, 64, 64) or theirs.shape == (4, 3, 32, 32)
    assert np.abs(theirs.numpy().astype(int) - ours.frames).mean() < 3
    assert PeerClips(rows, READING, name)[1].shape == (3, 4, 32, 32)


def test_a_peer_that_is_not_installed_is_named(rows: tuple[Row, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(peers.PEERS, "decord", ("no_such_decoder", peers.decord_frames))
    found, absent = pipelines({"ours": rows}, READING, 0, 4, ["decord"])
    assert [pipeline.name for pipeline in found] == ["ours"]
    assert "no_such_decoder" in absent["decord"]


def test_the_command_prints_tables_and_keeps_records(
    clip_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "input.jsonl"
    flags = [
        "--peers",
        "--frames",
        "4",
        "--size",
        "32",
        "--clips",
        "6",
        "--rounds",
        "2",
        "--workers",
        "1",
        "--batch",
        "3",
    ]
    assert main(["bench", "input", str(clip_folder), *flags, "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["ratio"] == 1.0
    assert said["clips_per_s"] > 0
    record = json.loads(out.read_text())
    assert (record["kind"], record["mode"], record["status"]) == ("bench", "input", "ok")
    assert record["figures"]["stage_ms"]["decode"] > 0
    assert len(record["figures"]["rounds"]) == 2
    assert record["config"]["versions"]["torchvision"]
    assert record["environment"]["cpu"]


def test_slips_in_the_flags_are_named(clip_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "input", str(clip_folder), "--peers", "torchcodek"]) == 2
    assert "torchcodec" in capsys.readouterr().err
    assert main(["bench", "input", str(clip_folder), "--clips", "0"]) == 2
    assert main(["bench", "inputs"]) == 2
    with pytest.raises(SystemExit) as stop:
        main(["bench", "input", str(clip_folder), "--decoder", "torchcodek"])
    assert stop.value.code == 2
    assert main(["bench", "input", str(clip_folder), "--policy", "vivit_k400"]) == 2
    assert "vivit_kinetics400" in capsys.readouterr().err


def test_a_peer_that_cannot_do_the_same_work_is_left_out(rows: tuple[Row, ...], tmp_path: Path) -> None:
    for name in POLICIES:
        reason = peers.unsuited(rows, replace(READING, policy=name))
        assert (reason is None) == (name in ("none", "flip") or name.startswith("lightweight_")), name
    (tmp_path / "0.jpg").touch()
    reason = peers.unsuited((*rows, Row(str(tmp_path), (0,), "all")), READING)
    assert reason is not None
    assert str(tmp_path) in reason
    assert "1 of 13" in reason


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_a_peer_cannot_read_is_named(
    rows: tuple[Row, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    def decode(row: Row, frames: int, rng: np.random.Generator) -> None:
        raise RuntimeError("No stream\nCall stack: ...")

    monkeypatch.setitem(peers.PEERS, "decord", ("numpy", decode))
    peer = PeerPipeline("decord", rows, READING, workers, 4)
    with pytest.raises(DataError, match=r"^[^\n]*\.mp4: decord cannot read it \(No stream\)[^\n]*$"):
        list(peer.epoch([1, 2]))


def test_a_file_that_torchcodec_cannot_open_is_named(tmp_path: Path) -> None:
    if (reason := peers.missing("torchcodec")) is not None:
        pytest.skip(reason)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"bad\.mp4: torchcodec cannot read it"):
        peers.torchcodec_rows([Row(str(tmp_path / "bad.mp4"), (0,), "all")])


def test_other_forms_with_other_clips_are_refused(
    clip_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(clip_folder / "moves_down/0.mp4", tmp_path)
    assert main(["bench", "input", str(clip_folder), "--also", str(tmp_path)]) == 2
    assert "12 in" in (said := capsys.readouterr().err)
    assert "1 in" in said


def test_stages_are_those_of_one_thread_and_of_the_decoder_asked_for(
    rows: tuple[Row, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, str]] = []

    class Looking(OurPipeline):
        def stages_s(self, order: Sequence[int]) -> dict[str, float]:
            self.clips = self  # type: ignore[assignment]
            return super().stages_s(order)

        def __getitem__(self, key: object) -> Any:
            seen.append((cv2.getNumThreads(), decoder_in_use()))
            return Sample(0, np.zeros(READING.shape, np.uint8), (0,))

    monkeypatch.setattr("kinelite.data.readers.torchcodec_reader.require", lambda: None)
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        stage_table([Looking("ours", rows, replace(READING, decoder="torchcodec"), 0, 4)], 5, 2)
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)
    assert set(seen) == {(1, "torchcodec")}
    assert decoder_in_use() == "pyav"
