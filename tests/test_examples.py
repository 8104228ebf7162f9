"""The scripts of docs/examples and the examples of docs/models.md, run on tiny clips."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import kinelite as kl
import kinelite.data.sets as sets
from kinelite.models import registry

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "docs/examples"
TINY = ["--model", "vivit_fe_nano", "--size", "32", "--frames", "8", "--epochs", "1"]


def run(script: str, *args: object) -> None:
    """As ``python docs/examples/SCRIPT ARGS``, in this process."""
    before = sys.argv
    sys.argv = [script, *map(str, args)]
    try:
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    finally:
        sys.argv = before


@pytest.fixture(scope="module")
def trained(clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("example") / "run"
    run("train_on_a_folder.py", clip_folder, out, *TINY, "--batch", 8)
    return out


def test_there_is_a_test_for_every_example() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES.glob("*.py") if f'run("{path.name}"' not in here] == []


def test_train_on_a_folder(trained: Path) -> None:
    record = json.loads((trained / "record.json").read_text())
    assert (record["recipe"], record["status"], len(record["stages"])) == ("sfa", "ok", 2)
    assert json.loads((trained / "eval-val-2x1/eval.json").read_text())["scored"] == 2


def test_all_reduce_rate_needs_company(capsys: pytest.CaptureFixture[str]) -> None:
    run("all_reduce_rate.py")
    assert "torchrun --nproc-per-node 2" in capsys.readouterr().out


def test_predict_clips(trained: Path, clip_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("predict_clips.py", trained, clip_folder / "moves_down", clip_folder / "none.mp4")
    lines = capsys.readouterr().out.splitlines()
    assert "not labelled" in lines[0]
    assert "none.mp4" in lines[0]
    shares = [float(re.findall(r"\d\.\d{3}", line)[0]) for line in lines[1:]]
    assert len(shares) == 6
    assert shares == sorted(shares)


def test_read_a_clip(clip_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("read_a_clip.py", clip_folder / "moves_right/0.mp4", tmp_path / "strip.png")
    assert capsys.readouterr().out.startswith("8 frames of 3 x 32 x 32, uint8")
    strip = cv2.imread(str(tmp_path / "strip.png"))
    frames = kl.read_clip(clip_folder / "moves_right/0.mp4", frames=8).frames
    assert np.array_equal(strip[:, 32:64, ::-1], frames[1].transpose(1, 2, 0))


def test_custom_encoder(capsys: pytest.CaptureFixture[str]) -> None:
    run("custom_encoder.py", "vit_tiny_patch16_224", 32)
    assert "features: (1, 4, 192); logits: (1, 10)" in capsys.readouterr().out


def test_compare_recipes(clip_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("compare_recipes.py", f"folder:{clip_folder}", tmp_path, *TINY)
    assert "of the conventional training time" in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text()
    assert "conventional" in page
    assert "sfa" in page


def test_ut_interaction(tmp_path: Path) -> None:
    lines = ["file,label,sequence,suggested_split"]
    lines += [f"set1/{n}.avi,{'push' if n % 2 else 'kick'},{n // 2},{'test' if n == 3 else 'train'}" for n in range(8)]
    (tmp_path / "splits.csv").write_text("\n".join(lines))
    (tmp_path / "set1").mkdir()
    for n in range(8):
        (tmp_path / f"set1/{n}.avi").touch()
    run("ut_interaction.py", tmp_path, tmp_path / "fold.csv", "--fold", "1/4")
    rows = kl.load_set(f"csv:{tmp_path / 'fold.csv'}").rows
    assert [(row.split, row.group) for row in rows if row.split != "train"] == [("test", "1"), ("test", "1")]


def test_latency_against_a_peer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "peer.py").write_text(
        "import kinelite\n\ndef build(frames, size, classes):\n"
        "    return kinelite.create_model('vivit_fe_nano', frames=frames, size=size, num_classes=classes)\n"
    )
    options = ["--frames", 4, "--size", 32, "--rounds", 3, "--out", tmp_path / "found.jsonl"]
    run("latency_against.py", "vivit_fe_nano", tmp_path / "peer.py", *options)
    run("latency_against.py", "vivit_fe_nano", tmp_path / "peer.py", *options, "--train")
    assert "vivit_fe_nano: " in capsys.readouterr().out
    records = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert [record["mode"] for record in records] == ["single", "training step"]
    assert all(0.2 < record["figures"]["ratio"] < 5 for record in records)


def test_frozen_baseline(clip_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Clips that it was fitted on it mostly knows; with their labels swapped it is wrong on exactly the same ones."""
    for split, classes in (("train", ("moves_right", "moves_down")), ("val", ("moves_down", "moves_right"))):
        for label, shown in zip(("moves_right", "moves_down"), classes, strict=True):
            shutil.copytree(clip_folder / shown, tmp_path / "swapped" / split / label)
            shutil.copytree(clip_folder / label, tmp_path / "same" / split / label)
    found = []
    for folder in ("same", "swapped"):
        run("frozen_baseline.py", f"folder:{tmp_path / folder}", "--model", "vivit_fe_nano", "--frames", 4)
        found.append(float(capsys.readouterr().out.removesuffix(" % of 12 held-out clips\n")))
    assert found[0] > 80
    assert sum(found) == pytest.approx(100)


def page_examples() -> dict[str, str]:
    """The complete examples of docs/models.md by what they register."""
    text = (ROOT / "docs/models.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    named = {
        name: next((b for b in blocks if name in b), "") for name in ("vivit_fe_dinov2_s", "framenet_r18", "lines:")
    }
    assert all(named.values())
    return named


def execute(code: str) -> dict[str, Any]:
    # A module of its own, as a file would be: dataclasses look their types up there.
    module = sys.modules["example"] = ModuleType("example")
    exec(compile(code, "docs/models.md", "exec"), vars(module))
    return vars(module)


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an example registers is forgotten after the test."""
    registry.list_models()
    sets.list_sets()
    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))
    monkeypatch.setattr(sets, "_SETS", dict(sets._SETS))


@pytest.mark.usefixtures("own_registry")
def test_a_variant_as_the_page_adds_it() -> None:
    execute(page_examples()["vivit_fe_dinov2_s"])
    with torch.device("meta"):
        model = kl.create_model("vivit_fe_dinov2_s", num_classes=10)
    assert (model.width, model.tubelet, model.temporal.tubelets) == (384, 1, 16)


@pytest.mark.usefixtures("own_registry")
def test_a_model_and_a_set_as_the_page_adds_them(clip_folder: Path, tmp_path: Path) -> None:
    execute(page_examples()["framenet_r18"])
    execute(page_examples()["lines:"])
    clips = sorted(clip_folder.glob("*/*.mp4"))
    (tmp_path / "list.txt").write_text("".join(f"{clip} {clip.parent.name}\n" for clip in clips))
    config = kl.recipes.sfa(
        data=f"lines:{tmp_path / 'list.txt'},outside=true",
        model="framenet_r18",
        frames=8,
        size=32,
        epochs=1,
        out=tmp_path / "run",
    )
    trained = kl.train(config)
    assert trained.record.stages[1]["froze"] == ["encoder.*"]
    assert trained.record.trained_params < trained.record.params
    assert kl.predict(trained, clips[:1])[0].labels["label"][0]["label"] in {"moves_right", "moves_down"}


@pytest.mark.slow  # two processes that train
def test_flat_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--model", "vivit_fe_nano", "--size", "32", "--device", "cpu"]
    run("flat_memory.py", tmp_path / "memory", *small, "--frames", "8")
    record = json.loads((tmp_path / "memory/online-8.json").read_text())
    assert (record["frames"], record["status"], record["batch"]) == (8, "ok", 1)
    assert "1.000 of the first" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "memory").iterdir()] == ["online-8.json"]


def test_stage1_savings(clip_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ways = ["drop 0.5", "small first", "third", "recompute"]
    run("stage1_savings.py", f"folder:{clip_folder}", tmp_path, *TINY, "--epochs", 2, "--ways", *ways)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:12].strip() for line in lines if line[:12].strip() in ways] == ways
    records = {way: json.loads((tmp_path / way.replace(" ", "-") / "record.json").read_text()) for way in ways}
    assert [stage["epochs"] for stage in records["small first"]["stages"]] == [1, 1, 2]
    assert records["third"]["stages"][0]["epochs"] == 1
    assert records["drop 0.5"]["config"]["stages"][0]["drop_tokens"] == 0.5
    assert records["recompute"]["config"]["memory"]["recompute"]


@pytest.mark.slow  # four runs
def test_features_once(clip_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table counts all that a run took, and the figure draws what the records hold."""
    found = tmp_path / "tiny.jsonl"
    numbers = ["--frames", 8, "--epochs", 2, "--long", 1, "--stored", 1, "--views", 1, "--every", 1, "--seeds", 1]
    run("features_once.py", "measure", "motion", f"folder:{clip_folder}", tmp_path / "runs", found, *numbers)
    records = [json.loads(line) for line in found.read_text().splitlines()]
    assert [record["way"] for record in records] == ["conventional", "online", "stored", "short"]
    assert [[stage["epochs"] for stage in record["stages"]] for record in records] == [[2], [2, 1], [2, 1], [1, 1]]
    assert [record["stages"][-1]["features"]["mode"] for record in records[1:]] == ["online", "stored", "stored"]
    assert [len(record["curve"]) for record in records] == [2, 3, 3, 2]
    capsys.readouterr()
    run("features_once.py", "table", found)
    line = next(
        line for line in capsys.readouterr().out.splitlines() if line.startswith("| SFA, features stored once |")
    )
    shares = [sum(r["train_seconds"] for r in records if r["way"] == way) for way in ("stored", "conventional")]
    assert f" {shares[0] / shares[1]:.3f} " in line
    run("features_once.py", "figure", tmp_path / "figure.svg", found)
    assert "SFA, features stored once" in (tmp_path / "figure.svg").read_text()


@pytest.mark.slow  # eight processes; tests/plan/test_accuracy.py compares the same figures in the fast suite
def test_plan_accuracy(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "cpu.jsonl"
    asked = ["--models", "vivit_fe_nano", "--batches", 1, "--frames", 8, "--size", 32]
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    run("plan_accuracy.py", out, *asked)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["config"]["mode"] for row in rows] == ["inference", "conventional", "sfa online", "sfa stored"]
    for row in rows:
        assert (row["status"], row["frames"], row["size"]) == ("ok", 8, 32), row["message"]
        assert row["figures"]["planned_gib"] == pytest.approx(row["figures"]["measured_gib"], rel=0.05)
    run("plan_accuracy.py", out, *asked)
    assert len(out.read_text().splitlines()) == 4
    run("plan_accuracy.py", out, "--again")
    assert [json.loads(line) for line in out.read_text().splitlines()] == rows
    assert "error" not in capsys.readouterr().err


def test_plan_accuracy_says_when_there_is_no_gpu(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit, match="no CUDA GPU"):
        run("plan_accuracy.py", tmp_path / "cuda.jsonl", "--device", "cuda")


@pytest.mark.slow  # processes that export; tests/export has the same checks
def test_export_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was tried with these versions is not tried again; what the exporter refuses is a record with its reason;
    the file that was verified is the one that is measured."""
    pytest.importorskip("onnxruntime")
    out, latency = tmp_path / "verified.jsonl", tmp_path / "latency.jsonl"
    asked = ["--models", "vivit_fe_nano", "--formats", "onnx", "--frames", 4, "--size", 32]
    run("export_models.py", out, latency, *asked, "--precisions", "fp32")
    run("export_models.py", out, latency, *asked, "--precisions", "fp32", "int4")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["precision"], row["status"]) for row in rows] == [("fp32", "ok"), ("int4", "failed")]
    assert rows[0]["figures"]["difference"] < 1e-4
    assert "Unknown precision 'int4'" in rows[1]["message"]
    timed = [json.loads(line) for line in latency.read_text().splitlines()]
    assert [(row["device"], row["threads"], row["status"]) for row in timed] == [("onnxruntime", 1, "ok")]
    assert timed[0]["weights_mib"] == rows[0]["figures"]["size_mib"]
    assert capsys.readouterr().out.count("vivit_fe_nano onnx fp32 ok") == 2


@pytest.mark.slow  # 24 s of tracing
def test_table_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "table4.jsonl"
    run("table_4.py", out, "--models", "vivit_fe_nano", "--frames", 16, 64)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    ours = [row for row in rows if not row["published"]]
    assert (len(rows) - len(ours), len(ours)) == (6, 10)
    assert all(row["figures"]["peak_gib"]["16"] <= row["figures"]["peak_gib"]["64"] for row in ours)
    assert "stage 2" in capsys.readouterr().out
