"""kinelite eval: which clips, which classes, which views, and what is not passed over."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

FLAGS = ("--device", "cpu", "--workers", "0")


def table(path: Path, rows: list[tuple[Path, str, str]]) -> str:
    path.write_text("path,label,split\n" + "".join(f"{p},{label},{split}\n" for p, label, split in rows))
    return f"csv:{path}"


def test_the_split_of_the_training_is_scored_again(kinelite: Any, run_folder: Path, tmp_path: Path) -> None:
    done = kinelite("eval", run_folder, *FLAGS, "--out", tmp_path, "--json")
    assert done.code == 0, done.err
    ours = json.loads((run_folder / "eval.json").read_text())
    again = json.loads((tmp_path / "eval.json").read_text())
    for name in ("top1", "scored", "confusion", "per_class", "split", "views"):
        assert again[name] == ours[name]
    assert again["loss"] == pytest.approx(ours["loss"], abs=1e-6)
    assert done.json["clips"] == "2 of 2"
    assert "scored 2 of 2 clips" in done.out
    assert f"Next: kinelite report {run_folder}" in done.out


def test_a_file_is_followed_by_a_page_of_its_result(kinelite: Any, run_folder: Path, tmp_path: Path) -> None:
    done = kinelite("eval", run_folder / "model.safetensors", *FLAGS, "--out", tmp_path / "e")
    assert f"Next: kinelite report {tmp_path / 'e'}" in done.out
    assert kinelite("report", tmp_path / "e", "--out", tmp_path / "page").code == 0


def test_all_clips_with_several_views(kinelite: Any, run_folder: Path, tmp_path: Path) -> None:
    done = kinelite("eval", run_folder, *FLAGS, "--on", "all", "--views", "2x3", "--out", tmp_path, "--json")
    assert done.json["scored"] == 12
    record = json.loads((tmp_path / "eval.json").read_text())
    assert (record["split"], record["views"]) == ("all", "2x3")
    assert sum(map(sum, record["confusion"])) == 12


def test_classes_in_another_order_are_matched_by_name(
    kinelite: Any, run_folder: Path, clip_folder: Path, tmp_path: Path
) -> None:
    clips = sorted(clip_folder.rglob("*.mp4"))
    done = kinelite("eval", run_folder, *FLAGS, "--on", "all", "--out", tmp_path / "a", "--json")
    expected = done.json["per_class"]
    # A class before the others, only in train, shifts the numbers of those that are scored.
    rows = [(p, p.parent.name, "test") for p in clips]
    for number, label in enumerate(("a_class", "moves_down", "moves_right")):
        copy = tmp_path / f"{number}.mp4"
        shutil.copy(clips[number], copy)
        rows.append((copy, label, "train"))
    data = table(tmp_path / "c.csv", rows)
    done = kinelite("eval", run_folder, *FLAGS, "--data", data, "--on", "test", "--out", tmp_path / "b", "--json")
    assert done.code == 0, done.err
    assert done.json["per_class"] == expected
    record = json.loads((tmp_path / "b" / "eval.json").read_text())
    assert record["classes"] == ["moves_down", "moves_right"]
    # The set has no val split: its test split is scored, and the record says so.
    kinelite("eval", run_folder, *FLAGS, "--data", data, "--out", tmp_path / "d")
    assert json.loads((tmp_path / "d" / "eval.json").read_text())["split"] == "test"


def test_labels_that_the_model_does_not_know(
    kinelite: Any, run_folder: Path, clip_folder: Path, tmp_path: Path
) -> None:
    clips = sorted(clip_folder.rglob("*.mp4"))
    rows = [(p, p.parent.name if i % 3 else "jumps", ("train", "val")[i % 2]) for i, p in enumerate(clips)]
    data = table(tmp_path / "c.csv", rows)
    done = kinelite("eval", run_folder, *FLAGS, "--data", data)
    done.failed(4, "not trained on these labels", "jumps", "moves_down, moves_right")


def test_another_task(kinelite: Any, run_folder: Path, clip_folder: Path, tmp_path: Path) -> None:
    clips = sorted(clip_folder.rglob("*.mp4"))
    text = "path,label_verb,split\n" + "".join(
        f"{p},{p.parent.name},{'val' if '1' in p.stem else 'train'}\n" for p in clips
    )
    (tmp_path / "c.csv").write_text(text)
    kinelite("eval", run_folder, *FLAGS, "--data", f"csv:{tmp_path / 'c.csv'}").failed(4, "label", "verb")


def test_a_split_that_the_set_does_not_have(kinelite: Any, run_folder: Path) -> None:
    kinelite("eval", run_folder, *FLAGS, "--on", "tset").failed(2, "no split 'tset'", "--on")


def test_undecodable_clips_are_counted_and_fail_beyond_a_share(
    kinelite: Any, run_folder: Path, clip_folder: Path, tmp_path: Path
) -> None:
    clips = Path(shutil.copytree(clip_folder, tmp_path / "clips"))
    (clips / "moves_down" / "zero.mp4").write_bytes(b"")
    flags = (*FLAGS, "--data", f"folder:{clips}", "--on", "all", "--out", tmp_path / "out")
    done = kinelite("eval", run_folder, *flags)
    done.failed(4, "1 of 13 clips could not be decoded", "allowed 5 %", "zero.mp4")
    assert "scored 12 of 13 clips" in done.out
    done = kinelite("eval", run_folder, *flags, "--max-skipped", "0.1", "--json")
    assert done.code == 0, done.err
    assert [Path(s["path"]).name for s in done.json["skipped"]] == ["zero.mp4"]


def test_the_split_rule_can_be_given_anew(kinelite: Any, run_folder: Path, tmp_path: Path) -> None:
    done = kinelite("eval", run_folder, *FLAGS, "--split.val-fraction", "0.5", "--out", tmp_path, "--json")
    assert done.code == 0, done.err
    assert done.json["scored"] == 6


def test_no_model(kinelite: Any, tmp_path: Path) -> None:
    kinelite("eval", tmp_path, *FLAGS).failed(2, "No trained model", "kinelite train")


def test_a_label_of_several_is_scored_and_printed(kinelite: Any, clip_folder: Path, small: Any, tmp_path: Path) -> None:
    clips = sorted(clip_folder.rglob("*.mp4"))
    for side, some in (("train", clips[::2]), ("val", clips[1::2])):
        lines = [f"{p.relative_to(clip_folder)} {p.parent.name} {'ab'[int(p.stem) % 4 // 2]}\n" for p in some]
        (tmp_path / f"{side}.txt").write_text("".join(lines))
    options = f"root={clip_folder},format=path+verb+noun,joint=action"
    spec = f"list:{tmp_path / 'train.txt'},{options}"
    done = kinelite("train", "conventional", "--data", spec, *small, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    done = kinelite("eval", tmp_path / "run", *FLAGS, "--json")
    assert done.code == 0, done.err
    action = done.json["tasks"]["action"]
    assert action["from"] == "verb+noun"
    assert action["top1"] <= min(done.json["tasks"][part]["top1"] for part in ("verb", "noun"))
    assert f"action (from verb+noun): top-1 {100 * action['top1']:.1f} %" in done.out
