"""kinelite train: what it prints, and every bad input of a newcomer's first day."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kinelite.data.motion_scene import draw_scene, encode, render


def test_a_run_ends_with_a_result_a_page_and_the_next_command(
    kinelite: Any, small: Any, clip_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    done = kinelite("train", "sfa", "--data", f"folder:{clip_folder}", *small, "--out", out, "--json")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("Training 'vivit_fe_nano' with recipe 'sfa' on cpu (")
    assert lines[-2].startswith(f"Result in {out}; page: {out}")
    assert f"kinelite predict {out}" in lines[-2]
    assert {"status", "top1", "seconds", "peak_memory_gib", "trained_params", "out", "report"} <= set(done.json)
    assert done.json["status"] == "ok"
    for name in ("config.json", "metrics.jsonl", "record.json", "eval.json", "model.safetensors", "checkpoints"):
        assert (out / name).exists(), name
    assert Path(done.json["report"]).is_file()


def test_a_missing_an_empty_and_a_clipless_folder(kinelite: Any, small: Any, tmp_path: Path) -> None:
    kinelite("train", "sfa", "--data", f"folder:{tmp_path / 'nowhere'}", *small, "--out", tmp_path / "a").failed(
        4, "nowhere"
    )
    (tmp_path / "empty").mkdir()
    kinelite("train", "sfa", "--data", f"folder:{tmp_path / 'empty'}", *small, "--out", tmp_path / "b").failed(
        4, "empty"
    )
    (tmp_path / "texts" / "class").mkdir(parents=True)
    (tmp_path / "texts" / "class" / "a.txt").write_text("x")
    kinelite("train", "sfa", "--data", f"folder:{tmp_path / 'texts'}", *small, "--out", tmp_path / "c").failed(
        4, "texts"
    )


def test_one_class_only(kinelite: Any, small: Any, copied: Path, tmp_path: Path) -> None:
    shutil.rmtree(copied / "moves_down")
    done = kinelite("train", "sfa", "--data", f"folder:{copied}", *small, "--out", tmp_path / "run")
    done.failed(4, "one class", "moves_right")


def test_clips_that_do_not_decode_are_left_out_with_a_count(
    kinelite: Any, small: Any, copied: Path, tmp_path: Path
) -> None:
    (copied / "moves_down" / "zero.mp4").write_bytes(b"")
    (copied / "moves_down" / "noise.mp4").write_bytes(bytes(range(256)) * 40)
    rows = [(p, p.parent.name, "val" if p.stem == "1" else "train") for p in sorted(copied.rglob("*.mp4"))]
    table = tmp_path / "clips.csv"
    table.write_text("path,label,split\n" + "".join(f"{p},{c},{s}\n" for p, c, s in rows))
    out = tmp_path / "run"
    done = kinelite("train", "conventional", "--data", f"csv:{table}", *small, "--epochs", 2, "--out", out, "--json")
    assert done.code == 0, done.err
    text = " ".join(done.err.split())
    assert "2 of 12 training clips" in text
    assert "zero.mp4" in text
    assert "noise.mp4" in text
    assert "4 times a training clip could not be decoded" in done.json["message"]
    assert "Traceback" not in done.err


def test_validation_clips_that_do_not_decode_fail_the_run_beyond_a_share(
    kinelite: Any, small: Any, copied: Path, tmp_path: Path
) -> None:
    (copied / "moves_down" / "zero.mp4").write_bytes(b"")
    rows = [(p, p.parent.name, "val" if p.stem in ("1", "zero") else "train") for p in sorted(copied.rglob("*.mp4"))]
    table = tmp_path / "clips.csv"
    table.write_text("path,label,split\n" + "".join(f"{p},{c},{s}\n" for p, c, s in rows))
    flags = ("train", "conventional", "--data", f"csv:{table}", *small)
    kinelite(*flags, "--out", tmp_path / "a").failed(4, "1 of 3 clips could not be decoded", "zero.mp4")
    assert json.loads((tmp_path / "a" / "record.json").read_text())["status"] == "failed"
    assert (tmp_path / "a" / "model.safetensors").exists(), "what was learnt is not lost"
    done = kinelite(*flags, "--out", tmp_path / "b", "--clips.max-skipped", "0.5")
    assert done.code == 0, done.err
    skipped = json.loads((tmp_path / "b" / "eval.json").read_text())["skipped"]
    assert [Path(s["path"]).name for s in skipped] == ["zero.mp4"]


def test_a_set_without_one_clip_that_decodes(kinelite: Any, small: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "bad" / name).mkdir(parents=True)
        for number in range(5):
            (tmp_path / "bad" / name / f"{number}.mp4").write_bytes(b"")
    done = kinelite("train", "sfa", "--data", f"folder:{tmp_path / 'bad'}", *small, "--out", tmp_path / "run")
    done.failed(4, "None of 8 training clips can be decoded", "kinelite data check")


def test_more_frames_than_a_clip_has_is_fine(kinelite: Any, small: Any, clip_folder: Path, tmp_path: Path) -> None:
    done = kinelite(
        "train", "conventional", "--data", f"folder:{clip_folder}", *small, "--frames", 32, "--out", tmp_path / "run"
    )
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["sfaa"], ["Unknown recipe 'sfaa'", "Nearest: sfa"]),
        (["sfa", "--model", "vivit_fe_nanno"], ["Unknown model 'vivit_fe_nanno'", "vivit_fe_nano"]),
        (["sfa", "--data", "foldr:x"], ["Unknown data set 'foldr'", "Nearest: folder"]),
        (["sfa", "--device", "gpu"], ["Unknown device 'gpu'", "kinelite doctor"]),
        (["sfa", "--clips.policy", "lightweight"], ["policy 'lightweight'", "lightweight_kinetics"]),
        (["sfa", "--epoch", "3"], ["--epoch", "Perhaps you meant", "--epochs"]),
        (["sfa", "--precision", "fp8"], ["fp8", "bf16"]),
        (["sfa", "--frames", "many"], ["many", "--frames"]),
        (["sfa", "--batch", "0"], ["batch 0", "at least 1"]),
        (["sfa", "--optim.lr", "nan"], ["lr", "at least 0"]),
        (["sfa", "--frames", "7"], ["7 frames", "4 or 8"]),
        (["sfa", "--stages.1.freeze", "encodr.*"], ["encodr.*", "encoder.*"]),
        (["sfa", "--init", "runs/nowhere"], ["runs/nowhere"]),
        (["sfa", "--net.dropout", "1.5"], ["dropout", "1.5"]),
    ],
    ids=lambda value: "-".join(value)[:40] if isinstance(value, list) else None,
)
def test_what_cannot_be_meant_ends_with_code_2_and_the_nearest(
    kinelite: Any, small: Any, clip_folder: Path, tmp_path: Path, args: list[str], parts: list[str]
) -> None:
    recipe, *flags = args
    done = kinelite("train", recipe, "--data", f"folder:{clip_folder}", *small, "--out", tmp_path / "run", *flags)
    done.failed(2, *parts)
    assert not list((tmp_path / "run").glob("checkpoints/*")), "nothing is trained before everything is checked"


def test_a_slip_in_the_first_command_does_not_take_the_folder(
    kinelite: Any, small: Any, clip_folder: Path, tmp_path: Path
) -> None:
    flags = ("train", "conventional", "--data", f"folder:{clip_folder}", *small, "--out", tmp_path / "run")
    kinelite(*flags, "--pretrained", tmp_path / "nowhere.safetensors").failed(2, "nowhere")
    assert kinelite(*flags).code == 0


def test_without_a_recipe_the_recipes_are_listed(kinelite: Any) -> None:
    done = kinelite("train")
    done.failed(2, "conventional", "sfa")
    assert "sfa" in done.out


def test_a_device_that_the_machine_lacks(kinelite: Any, small: Any, clip_folder: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = kinelite(
        "train", "sfa", "--data", f"folder:{clip_folder}", *small, "--device", "cuda", "--out", tmp_path / "run"
    )
    done.failed(3, "'cuda'", "kinelite doctor")


def test_several_tasks_train_evaluate_and_predict(kinelite: Any, clip_folder: Path, small: Any, tmp_path: Path) -> None:
    table = tmp_path / "clips.csv"
    lines = [f"{p},{p.parent.name},{'ab'[int(p.stem) % 2]}" for p in sorted(clip_folder.rglob("*.mp4"))]
    table.write_text("path,label_verb,label_noun\n" + "\n".join(lines))
    out = tmp_path / "run"
    done = kinelite("train", "sfa", "--data", f"csv:{table}", *small, "--out", out, "--json")
    assert done.code == 0, done.err
    assert set(json.loads((out / "eval.json").read_text())["tasks"]) == {"verb", "noun"}
    done = kinelite("eval", out, "--on", "all", "--device", "cpu", "--workers", 0, "--json")
    assert done.code == 0, done.err
    assert done.json["scored"] == 12
    assert set(done.json["tasks"]) == {"verb", "noun"}
    assert done.json["tasks"]["verb"]["top1"] == done.json["top1"]
    assert "verb: top-1 " in done.out
    assert f"noun: top-1 {100 * done.json['tasks']['noun']['top1']:.1f} %" in done.out
    done = kinelite("predict", out, clip_folder / "moves_down" / "0.mp4", "--device", "cpu", "--json")
    assert done.code == 0, done.err
    labels = done.json["predictions"][0]["labels"]
    assert {item["label"] for item in labels["verb"]} == {"moves_down", "moves_right"}
    assert {item["label"] for item in labels["noun"]} == {"a", "b"}


def test_a_clip_without_a_picture_is_left_out(kinelite: Any, small: Any, copied: Path, tmp_path: Path) -> None:
    import av

    with av.open(str(copied / "moves_down" / "sound.mp4"), "w") as file:
        stream = file.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        frame.rate = 44100
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    flags = ("--data", f"folder:{copied}", "--split.seed", 0, "--clips.max-skipped", 1, "--out", tmp_path / "run")
    done = kinelite("train", "conventional", *small, *flags, "--json")
    assert done.code == 0, done.err
    skipped = json.loads((tmp_path / "run" / "eval.json").read_text())["skipped"]
    assert "sound.mp4" in done.err or "sound.mp4" in str(skipped)


def test_every_frame_is_seen_even_of_one_frame_clips(kinelite: Any, small: Any, tmp_path: Path) -> None:
    for motion in ("moves_right", "moves_down"):
        (tmp_path / "clips" / motion).mkdir(parents=True)
        for number in range(5):
            picture = render(draw_scene(motion, np.random.default_rng(number)), frames=2, size=32)[:1]
            (tmp_path / "clips" / motion / f"{number}.mp4").write_bytes(encode(picture))
    done = kinelite(
        "train", "conventional", "--data", f"folder:{tmp_path / 'clips'}", *small, "--out", tmp_path / "run"
    )
    assert done.code == 0, done.err


def test_a_saved_config_can_be_passed_back_in(tmp_path: Path) -> None:
    from kinelite.commands.train_ import read_config
    from kinelite.config import to_json
    from kinelite.errors import UsageError
    from kinelite.recipes import sfa

    saved = sfa(epochs=3, seed=7).resolved()
    (tmp_path / "config.json").write_text(json.dumps(to_json(saved)))
    assert read_config(["sfa", "--config", str(tmp_path / "config.json")]) == saved
    assert read_config(["sfa", "--seed", "8", "--config", str(tmp_path / "config.json")]).seed == 8
    for words, pattern in (
        (["conventional", "--config", str(tmp_path / "config.json")], "kinelite train sfa"),
        (["sfa", "--config", str(tmp_path / "none.json")], "no config can be read"),
        (["sfa", "--config"], "no config can be read"),
    ):
        with pytest.raises(UsageError, match=pattern):
            read_config(words)


def test_a_norm_with_a_single_value_is_said(kinelite: Any, small: Any, clip_folder: Path, tmp_path: Path) -> None:
    tiny = ("--model", "x3d_xs", "--frames", 1, "--batch", 1, "--out", tmp_path / "run")
    done = kinelite("train", "conventional", *small, "--data", f"folder:{clip_folder}", *tiny)
    done.failed(1, "batch norm of 'x3d_xs'", "More --frames, a larger --size, or a --batch")
    assert json.loads((tmp_path / "run" / "record.json").read_text())["status"] == "failed"
