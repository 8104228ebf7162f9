"""Files of every format: written, run in their runtime, refused when they differ or are damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from kinelite.bench.case import LIGHTWEIGHT
from kinelite.data.manifest import Manifest
from kinelite.errors import DataError, RunError, SetupError, UsageError
from kinelite.export import FORMATS, Gap, find, format_of, make, ready
from kinelite.export.clips import Clips, drawn, normalised
from kinelite.export.exported import open_exported
from kinelite.export.facts import Facts, from_text, golden_clip, packed, to_text
from kinelite.export.make import export, size_mib
from kinelite.export.quiet import quietly
from kinelite.export.rewrite import rewritten
from kinelite.export.source import has_names, trained_or_new
from kinelite.export.verify import Difference, compare, verify
from kinelite.models.registry import create_model
from kinelite.train.trained import Trained
from kinelite.types import InputSpec

QUICK = ("vivit_fe_nano", "movinet_a0")
FACTS = Facts(
    model="x",
    precision="fp32",
    spec=InputSpec(2, 4),
    tasks={"verb": ("a", "b"), "noun": ("c", "d", "e")},
    batch=2,
    golden_clip=packed(np.arange(96, dtype=np.uint8).reshape(3, 2, 4, 4)),
    golden_logits={"verb": [1.0, 2.0], "noun": [3.0, 2.0, 1.0]},
)


@pytest.fixture(params=["onnx", "executorch"])
def runtime(request: pytest.FixtureRequest) -> str:
    """Each runtime that is installed."""
    if reason := find(request.param).missing():
        pytest.skip(reason)
    return request.param


def trained(built: Any, name: str, batch: int = 1) -> tuple[Trained, torch.Tensor]:
    model, video = built(name, batch)
    tasks = {"label": tuple("abcdefg")}
    return Trained(model, model.spec, tasks, name, Path("weights"), Path()), video


def check(built: Any, name: str, runtime: str, folder: Path, precision: str = "fp32", batch: int = 1) -> Difference:
    """Export, then compare on another video than the golden one."""
    given, video = trained(built, name, batch)
    path = folder / f"{name}{find(runtime).SUFFIX}"
    made = export(given, runtime, precision, path, batch=batch, said=lambda text: None)
    assert made.path == path
    assert [p.name for p in folder.iterdir()] == [path.name]
    opened = open_exported(path)
    assert (opened.spec, opened.tasks, opened.name) == (given.spec, given.tasks, name)
    with torch.no_grad():
        wanted, found = given.model(video), opened.model(video)
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= {"fp32": 1e-3, "fp16": 0.05, "int8": 0.6}[precision] * wanted.abs().max()
    return made.difference


@pytest.mark.parametrize("name", QUICK)
def test_a_file_gives_the_logits_of_pytorch(built, runtime, tmp_path, name):
    found = check(built, name, runtime, tmp_path)
    assert found.largest is not None
    assert found.largest < 1e-4 * found.scale
    assert found.same_label


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*LIGHTWEIGHT} - {*QUICK}))
def test_every_model_of_the_lightweight_paper_runs(built, runtime, tmp_path, name):
    assert check(built, name, runtime, tmp_path).same_label


@pytest.mark.slow
@pytest.mark.parametrize("name", ["movinet_a0_stream", "tsm_mobilenet_v2_online"])
def test_a_stream_gives_after_each_frame_what_pytorch_gives(built, runtime, tmp_path, name):
    given, video = trained(built, name)
    made = export(given, runtime, out=tmp_path / f"s{find(runtime).SUFFIX}", stream=True, said=lambda text: None)
    assert len(made.facts.state) == len(given.model.start())
    opened = open_exported(made.path)
    with torch.no_grad():
        for length in (1, 2, 4):
            wanted, found = given.model(video[:, :, :length]), opened.model(video[:, :, :length])
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_only_a_streaming_model_is_written_as_a_stream(built):
    with pytest.raises(UsageError, match="list models"):
        export(trained(built, "vivit_fe_nano")[0], "onnx", stream=True, said=lambda text: None)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("name", ["tsm_r50", "vivit_fe_s", "x3d_xs"])
def test_fewer_bits(built, runtime, tmp_path, name, precision):
    assert check(built, name, runtime, tmp_path, precision).largest > 1e-6
    weights_mib = sum(4 * part.numel() for part in trained(built, name)[0].model.parameters()) / 2**20
    # x3d_xs has 200 small convolutions, each with ranges of its own.
    assert precision != "int8" or size_mib(tmp_path / f"{name}{find(runtime).SUFFIX}") < 0.5 * weights_mib


@pytest.mark.parametrize("width", [192, 384])
def test_layer_norms_in_half_precision(runtime, tmp_path, width):
    """ExecuTorch's own kernel in fp16 is right up to 192 channels and gives noise from 256 on."""
    net, video = nn.LayerNorm(width).eval(), torch.randn(1, 3, 2, 17, width)
    chosen, path = find(runtime), tmp_path / f"norm{find(runtime).SUFFIX}"
    chosen.write(rewritten(net, (video,), chosen.AXES), (video,), path, "{}", "fp16", [])
    with quietly(), torch.no_grad():
        assert 1e-6 < (chosen.open(path)(video)[0] - net(video)).abs().max() < 0.01


def test_any_number_of_clips_is_given_to_a_file_of_two_at_a_time(built, runtime, tmp_path):
    given, _ = trained(built, "vivit_fe_nano")
    path = tmp_path / f"two{find(runtime).SUFFIX}"
    export(given, runtime, out=path, batch=2, said=lambda text: None)
    video = torch.randn(5, 3, 4, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(open_exported(path).model(video), given.model(video), rtol=1e-3, atol=1e-4)


def test_a_file_that_differs_is_not_kept(built, runtime, tmp_path, monkeypatch):
    given, _ = trained(built, "vivit_fe_nano")
    path = tmp_path / f"wrong{find(runtime).SUFFIX}"
    path.write_bytes(b"what was here before")
    right = make.facts_of
    spoilt = lambda *a: replace(f := right(*a), golden_logits={"label": [v + 0.1 for v in f.golden_logits["label"]]})  # noqa: E731
    monkeypatch.setattr(make, "facts_of", spoilt)
    with pytest.raises(RunError, match=r"other logits than PyTorch: largest difference 0\.1"):
        export(given, runtime, out=path, said=lambda text: None)
    assert path.read_bytes() == b"what was here before"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_executorch_quantises_every_convolution_and_linear_layer():
    executorch: Any = find("executorch")
    if reason := executorch.missing():
        pytest.skip(reason)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv3d(3, 4, 3, padding=1), nn.Conv3d(4, 4, (1, 3, 3), padding=(0, 1, 1))
            self.linear = nn.Linear(4, 5)

        def forward(self, video: torch.Tensor) -> torch.Tensor:
            x = self.first(video).relu()
            return self.linear((x + self.second(x)).mean((2, 3, 4)))

    torch.manual_seed(0)
    video = torch.randn(1, 3, 4, 8, 8)
    graph = rewritten(Net().eval(), (video,), executorch.AXES)
    weighted = [n for n in graph.graph.nodes if str(n.target) in ("aten.conv2d.default", "aten.linear.default")]
    with quietly():
        made = executorch._quantised(graph, (video,), [(video,)])
    assert len(weighted) == 3
    assert sum("dequantize_per_channel" in str(node.target) for node in made.graph.nodes) == 3


def test_products_of_8_bits_fit_the_sums_of_processors_without_vnni(built, tmp_path):
    onnx: Any = pytest.importorskip("onnx", reason="needs kinelite[onnx]")
    export(trained(built, "vivit_fe_nano")[0], "onnx", "int8", tmp_path / "m.onnx", said=lambda text: None)
    kept = [w for w in onnx.load(tmp_path / "m.onnx").graph.initializer if w.data_type == onnx.TensorProto.INT8]
    widest = max(int(np.abs(onnx.numpy_helper.to_array(w).astype(int)).max()) for w in kept)
    assert 2 * 255 * widest < 2**15
    assert widest > 32


def test_int8_that_says_nothing_is_not_kept(built, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    right = make.facts_of
    spoilt = lambda *a: replace(f := right(*a), golden_logits={"label": [-v for v in f.golden_logits["label"]]})  # noqa: E731
    monkeypatch.setattr(make, "facts_of", spoilt)
    with pytest.raises(RunError, match="another label; allowed in int8"):
        export(trained(built, "vivit_fe_nano")[0], "onnx", "int8", tmp_path / "m.onnx", said=lambda text: None)


@pytest.mark.parametrize("content", [b"", b"x" * 4000, None])
def test_a_damaged_file_is_a_sentence(built, runtime, tmp_path, content):
    path = tmp_path / f"mine{find(runtime).SUFFIX}"
    if content is None:
        export(trained(built, "vivit_fe_nano")[0], runtime, out=path, said=lambda text: None)
        content = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"damaged|No file"):
        open_exported(path)


def test_a_missing_file_is_a_sentence():
    for name in FORMATS:
        with pytest.raises(UsageError, match=rf"No file 'gone\{find(name).SUFFIX}'.*--format {name}"):
            open_exported(f"gone{find(name).SUFFIX}")


def test_what_is_not_installed_names_the_command(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in FORMATS:
        with pytest.raises(SetupError, match=rf"pip install 'kinelite\[{name}\]'"):
            ready(name)
    with pytest.raises(UsageError, match="Nearest: onnx"):
        find("onx")


def test_facts_survive_and_are_checked():
    assert from_text(to_text(FACTS), Path("f")) == FACTS
    for text in (
        "",
        "{",
        "{}",
        to_text(replace(FACTS, golden_clip="AAAA")),
        to_text(replace(FACTS, spec=InputSpec(3, 4))),
    ):
        with pytest.raises(UsageError, match="f is damaged"):
            from_text(text, Path("f"))


def test_the_comparison_sees_every_task_and_place_of_the_batch():
    right = [torch.tensor([[1.0, 2.0]] * 2), torch.tensor([[3.0, 2.0, 1.0]] * 2)]
    assert compare(lambda video: right, FACTS) == Difference(0.0, 3.0)
    other = [right[0], torch.tensor([[3.0, 2.0, 1.0], [3.0, 3.5, 1.0]])]
    assert compare(lambda video: other, FACTS) == Difference(1.5, 3.0, same_label=False)
    for wrong in ([right[0]], [right[0], torch.full((2, 3), torch.nan)], [right[0], right[1][:1]]):
        assert compare(lambda video, wrong=wrong: wrong, FACTS).largest == np.inf
    shown: list[torch.Tensor] = []
    compare(lambda video: shown.append(video) or right, FACTS)
    golden = normalised(golden_clip(FACTS)[None], FACTS.spec)[0]
    assert [[torch.equal(clip, golden) for clip in video] for video in shown] == [[True, False], [False, True]]


def test_a_runtime_that_mixes_clips_is_seen():
    golden = normalised(golden_clip(FACTS)[None], FACTS.spec)[0]

    def first_for_all(video: torch.Tensor) -> list[torch.Tensor]:
        sure = 1.0 if torch.equal(video[0], golden) else 0.0
        return [sure * torch.tensor([[1.0, 2.0]] * 2), sure * torch.tensor([[3.0, 2.0, 1.0]] * 2)]

    assert compare(first_for_all, FACTS).largest == 3.0


def test_drawn_clips_fit_the_model_and_differ():
    clips = drawn(InputSpec(1, 32), 3)
    assert [clip.shape for clip in clips.pixels] == [(3, 1, 32, 32)] * 3
    assert [video.shape[0] for video in clips.videos(2)] == [2, 2]
    assert not np.array_equal(clips.pixels[0], clips.pixels[1])


def test_a_named_model_has_random_weights_and_a_run_takes_no_size():
    found = trained_or_new("vivit_fe_nano", frames=4, size=32, pretrained=None)
    assert (found.spec.frames, found.spec.size, len(found.tasks["label"])) == (4, 32, 400)
    assert not has_names(found)
    # No branch of it is idle: a new model's gains of zero would hide most of a network.
    assert all(tensor.abs().max() > 0 for tensor in found.model.parameters())
    with pytest.raises(UsageError, match=r"--size: only for a model that is named"):
        trained_or_new("runs/mine", size=32)


def test_weights_of_a_release_and_folders_of_a_models_name_are_no_new_models(built, tmp_path, monkeypatch):
    from kinelite.export import source

    given, _ = trained(built, "vivit_fe_nano")
    monkeypatch.setattr(source, "load_trained", lambda name: replace(given, name=f"loaded {name}"))
    for name in ("swin3d_t@k400", "hf:me/x3d_xs/model.safetensors", "https://host/x3d_xs", "runs/x3d_xs"):
        assert trained_or_new(name).name == f"loaded {name}"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x3d_xs").mkdir()
    assert trained_or_new("x3d_xs").name == "loaded x3d_xs"
    with pytest.raises(UsageError, match=r"Unknown model or run 'tsm_r5'\. Nearest: tsm_r50"):
        trained_or_new("tsm_r5")
    with pytest.raises(UsageError, match="needs an encoder: vivit_fe:ENCODER"):
        trained_or_new("vivit_fe:")


def test_a_folder_of_someone_elses_stays(built, tmp_path):
    mine = tmp_path / "mine.onnx"
    mine.mkdir()
    (mine / "letter").write_text("dear")
    with pytest.raises(UsageError, match="a folder is there"):
        export(trained(built, "vivit_fe_nano")[0], "onnx", out=mine, said=lambda text: None)
    assert (mine / "letter").read_text() == "dear"


def test_a_package_takes_the_place_of_the_one_before(tmp_path):
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Manifest.json").write_text(name)
    make._replace(tmp_path / "new", tmp_path / "old")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old" / "Manifest.json").read_text() == "new"


def test_what_a_model_cannot_take_and_what_a_library_lacks_are_sentences(built, tmp_path, monkeypatch):
    given, _ = trained(built, "vivit_fe_nano")
    with pytest.raises(UsageError, match="--stream --precision fp16"):
        export(trained(built, "movinet_a0_stream")[0], "onnx", "fp16", stream=True, said=lambda text: None)
    monkeypatch.setattr(make, "read", lambda *a: Clips("0 clips", [], given.spec))
    monkeypatch.setattr(make, "as_split", lambda *a: Manifest("x", {}, ()))
    with pytest.raises(DataError, match="could be decoded to calibrate with"):
        export(given, "onnx", "int8", data="folder:x", said=lambda text: None)

    def broken(*a: Any) -> None:
        raise KeyError("aten.frobnicate")

    monkeypatch.setattr(make, "rewritten", broken)
    with pytest.raises(Gap, match=r"builtins.KeyError: 'aten.frobnicate'"):
        export(given, "onnx", out=tmp_path / "m.onnx", said=lambda text: None)
    assert list(tmp_path.iterdir()) == []
    wrong = replace(given, spec=InputSpec(4, 50))
    with pytest.raises(UsageError, match="vivit_fe_nano cannot take 4 frames of 50 pixels"):
        export(wrong, "onnx", out=tmp_path / "m.onnx", said=lambda text: None)


def test_every_task_has_its_own_logits(runtime, tmp_path):
    torch.manual_seed(0)
    classes = {"verb": 3, "noun": 5}
    model: Any = create_model("vivit_fe_nano", frames=4, size=64, heads=classes).eval()
    tasks = {task: tuple(f"{task}{number}" for number in range(count)) for task, count in classes.items()}
    given = Trained(model, model.spec, tasks, "vivit_fe_nano", Path("weights"), Path())
    made = export(given, runtime, out=tmp_path / f"two{find(runtime).SUFFIX}", said=lambda text: None)
    video = torch.randn(1, 3, 4, 64, 64)
    with torch.no_grad():
        found, wanted = open_exported(made.path).model(video), model(video)
    assert list(found) == ["verb", "noun"]
    torch.testing.assert_close(found, dict(wanted), rtol=1e-3, atol=1e-4)


def test_coreml_is_checked_for_its_structure_elsewhere_than_on_a_mac(built, tmp_path):
    coreml: Any = find("coreml")
    if reason := coreml.missing():
        pytest.skip(reason)
    given, video = trained(built, "vivit_fe_nano")
    made = export(given, "coreml", out=tmp_path / "m.mlpackage", said=lambda text: None)
    assert made.facts.spec.frames == video.shape[2]
    coreml.check(made.path, made.facts)
    with pytest.raises(UsageError, match=r"it takes \(1, 3, 4, 64, 64\) and gives 1 outputs"):
        coreml.check(made.path, replace(made.facts, batch=2))
    assert from_text(coreml.read_facts(made.path), made.path) == made.facts
    assert format_of(made.path) == "coreml"
    if made.difference.largest is None:
        assert "macOS" in str(made.difference)
        with pytest.raises(Gap, match="macOS"):
            coreml.open(made.path)
    assert verify("coreml", made.path) == made.difference
