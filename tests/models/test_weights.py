"""Weights in and out: round trips, stage 1 to stage 2, and every way in which a file can be wrong."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from kinelite.config import NetConfig
from kinelite.errors import SetupError, UsageError
from kinelite.models import (
    create_model,
    load_weights,
    read_metadata,
    resize_temporal_positions,
    save_weights,
)
from kinelite.models import encoder as encoder_module
from kinelite.models.checkpoints.layout import Layout
from kinelite.models.registry import Release
from kinelite.models.vivit import ViViTFE

MOVINET = Path(__file__).resolve().parents[3] / "shared" / "weights" / "movinet_a0_stream.cow7.safetensors"


def nano(classes: int = 5, frames: int = 8, seed: int = 0, tubelet: int = 2) -> nn.Module:
    torch.manual_seed(seed)
    return create_model("vivit_fe_nano", num_classes=classes, frames=frames, net=NetConfig(tubelet=tubelet))


def same(a: nn.Module, b: nn.Module, *, but: tuple[str, ...] = ("?",)) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    names = [name for name in ours if not name.startswith(but)]
    return all(torch.equal(ours[name], theirs[name]) for name in names)


def test_round_trip_with_metadata(tmp_path: Path) -> None:
    first, second = nano(), nano(seed=1)
    assert not same(first, second)
    save_weights(tmp_path / "new" / "model.safetensors", first, {"model": "vivit_fe_nano", "classes": ["a", "ö"]})
    report = load_weights(second, tmp_path / "new" / "model.safetensors")
    assert same(first, second)
    assert (report.kind, report.loaded, report.new, report.notes) == ("model", len(first.state_dict()), (), ())
    assert read_metadata(tmp_path / "new" / "model.safetensors") == {"model": "vivit_fe_nano", "classes": ["a", "ö"]}
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["model.safetensors"]


def test_mean_and_deviation_of_a_run_come_with_its_weights(tmp_path: Path) -> None:
    mean = (0.45, 0.45, 0.45)
    save_weights(tmp_path / "w.safetensors", nano(), {"spec": {"mean": mean, "std": (0.5, 0.5, 0.5), "frames": 99}})
    model = nano(seed=1)
    report = load_weights(model, tmp_path / "w.safetensors")
    assert (model.spec.mean, model.spec.frames) == (mean, 8)
    assert report.notes == (f"input mean {mean}, as the weights were trained",)


def test_files_of_other_programs_have_no_metadata(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    assert read_metadata(tmp_path / "other.safetensors") == {}


def test_several_tasks_survive_a_round_trip(tmp_path: Path) -> None:
    first, second = (create_model("vivit_fe_nano", heads={"verb": 3, "noun": 4}, frames=4) for _ in range(2))
    save_weights(tmp_path / "m.safetensors", first)
    load_weights(second, tmp_path / "m.safetensors")
    assert same(first, second)


def test_stage_1_to_stage_2_interpolates_positions_and_keeps_the_rest() -> None:
    first, second = nano(frames=8), nano(frames=128, seed=1)
    second.add_adapter()
    report = load_weights(second, first.state_dict())
    assert same(first, second, but=("temporal.positions",))
    expected = resize_temporal_positions(first.temporal.positions.detach(), 64)
    assert torch.equal(second.temporal.positions.detach(), expected)
    assert report.new == ("adapter",)
    assert any("4 to 64 tubelets" in note for note in report.notes)


def test_an_adapter_in_the_file_is_installed() -> None:
    first, second = nano(), nano(seed=1)
    first.add_adapter()
    nn.init.normal_(first.adapter.fc2.weight)
    report = load_weights(second, first.state_dict())
    video = torch.randn(1, 3, 8, 64, 64)
    assert torch.equal(first.eval()(video), second.eval()(video))
    assert "adapter installed, as in the file" in report.notes


def test_other_classes_only_when_asked() -> None:
    first, second = nano(classes=5), nano(classes=9, seed=1)
    untouched = {k: v.clone() for k, v in second.state_dict().items()}
    with pytest.raises(UsageError, match=r"(?s)head.label.weight: file 5x96, model 9x96.*Only the classifier differs"):
        load_weights(second, first.state_dict())
    assert all(torch.equal(v, untouched[k]) for k, v in second.state_dict().items())
    report = load_weights(second, first.state_dict(), allow_new_head=True)
    assert same(second, first, but=("head.",))
    assert torch.equal(second.head["label"].weight, untouched["head.label.weight"])
    assert report.new == ("head",)


def test_equal_classes_keep_the_classifier_even_when_a_new_one_is_allowed() -> None:
    first, second = nano(), nano(seed=1)
    load_weights(second, first.state_dict(), allow_new_head=True)
    assert same(first, second)


def test_image_weights_fill_the_encoder_alone_and_half_precision_becomes_single() -> None:
    image, model = nano(tubelet=1), nano(seed=1)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    half = {k: v.half() for k, v in image.encoder.state_dict().items()} | {"head.weight": torch.zeros(1000, 96)}
    report = load_weights(model, half)
    assert report.kind == "image"
    assert report.new == ("temporal", "head")
    assert "inflated to 2 frames (central)" in str(report)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert torch.equal(model.encoder.blocks[0].attn.qkv.weight, half["blocks.0.attn.qkv.weight"].float())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items() if not k.startswith("encoder."))


def test_misfit_is_a_short_readable_difference() -> None:
    model, small = create_model("vivit_fe_ti", frames=4), create_model("vivit_fe_nano", frames=4)
    with pytest.raises(UsageError) as error:
        load_weights(model, small.state_dict())
    text = str(error.value)
    assert f"encoder.blocks.{len(small.encoder.blocks)}.norm1.weight 192" in text
    assert "encoder.cls_token: file 1x1x96, model 1x1x192" in text
    assert "more" in text
    assert len(text.splitlines()) <= 31


def test_patches_of_another_size_are_a_misfit_not_a_resampling() -> None:
    state = nano(tubelet=1).encoder.state_dict()
    state["patch_embed.proj.weight"] = torch.zeros(96, 3, 14, 14)
    with pytest.raises(UsageError, match=r"patch_embed\.proj\.weight: file 96x3x14x14, model 96x6x16x16"):
        load_weights(nano(), state)


@pytest.mark.skipif(not MOVINET.is_file(), reason=f"the MoViNet weights are not at {MOVINET}")
def test_weights_of_a_quite_different_model_are_refused() -> None:
    with pytest.raises(UsageError, match="in the file but not in the model"):
        load_weights(nano(), MOVINET)


@pytest.mark.parametrize("name", ["w.pth", "w.bin", "w.safetensors"])
def test_torch_files_load_whatever_they_are_called(tmp_path: Path, name: str) -> None:
    first, second = nano(), nano(seed=1)
    torch.save({"epoch": 3, "model_state": first.state_dict()}, tmp_path / name)
    load_weights(second, tmp_path / name)
    assert same(first, second)
    assert read_metadata(tmp_path / name) == {}


def test_a_cut_off_file_is_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "whole.safetensors", nano())
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:5000])
    with pytest.raises(UsageError, match="not a whole safetensors file"):
        load_weights(nano(), tmp_path / "cut.safetensors")


def test_a_file_that_is_not_there_offers_its_neighbours(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match=r"In that folder: model\.safetensors"):
        load_weights(nano(), tmp_path / "modle.safetensors")


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    save_weights(path, nano(), {"epoch": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(SetupError, match="No space left"):
        save_weights(path, nano(seed=1), {"epoch": 2})
    assert read_metadata(path) == {"epoch": 1}
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_a_folder_that_is_a_file_is_a_set_up_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(SetupError, match="Could not write"):
        save_weights(tmp_path / "taken" / "m.safetensors", nano())


def test_no_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    model = create_model("vivit_fe_ti", frames=4)

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(encoder_module.timm, "create_model", unreachable)
    with pytest.raises(SetupError, match=r"(?s)deit_tiny_patch16_224.*model\.safetensors.*--pretrained"):
        load_weights(model, "hub")


def test_hub_weights_go_the_way_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    model, image = create_model("vivit_fe_ti", frames=4), timm.create_model("deit_tiny_patch16_224", num_classes=0)
    build, asked = timm.create_model, []

    def published(name: str, pretrained: bool = False, **options: object) -> nn.Module:
        asked.append((name, pretrained))
        return image if pretrained else build(name, **options)

    monkeypatch.setattr(encoder_module.timm, "create_model", published)
    report = load_weights(model, "hub")
    assert ("deit_tiny_patch16_224.fb_in1k", True) in asked
    assert report.loaded == len(image.state_dict())
    assert torch.equal(model.encoder.pos_embed, image.pos_embed)


def test_an_encoder_without_published_weights_says_so() -> None:
    with torch.device("meta"):
        model = create_model("vivit_fe_g", frames=2)
    with pytest.raises(UsageError, match="timm publishes no weights of 'vit_giant_patch14_224'"):
        load_weights(model, "hub")
    with pytest.raises(UsageError, match="with patch_size 16, embed_dim 96"):
        load_weights(nano(), "hub")


def foreign(model: nn.Module, classes: int | None = None) -> dict[str, torch.Tensor]:
    """The weights of a vivit_fe_nano as the project of `FOREIGN` stores them."""
    state = {k: v.clone() for k, v in model.state_dict().items()}
    if classes:
        state |= {"head.label.weight": torch.ones(classes, 96), "head.label.bias": torch.ones(classes)}
    names = {"encoder.": "backbone.", "head.label.": "fc."}
    return {next((n + k.removeprefix(o) for o, n in names.items() if k.startswith(o)), k): v for k, v in state.items()}


FOREIGN = Layout(
    "Elsewhere",
    marks=(r"^backbone\.blocks\.0\.", r"^fc\."),
    rename=((r"^backbone\.", "encoder."), (r"^fc\.", "head.")),
    drop=(r"^queue$",),
    spec={"mean": (0.1, 0.2, 0.3)},
)


@pytest.fixture
def layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ViViTFE, "layouts", (FOREIGN,))


@pytest.mark.usefixtures("layouts")
def test_a_layout_brings_the_whole_model_its_classifier_and_its_input() -> None:
    first, second = nano(), nano(seed=1)
    report = load_weights(second, foreign(first) | {"queue": torch.zeros(3)})
    assert same(first, second)
    assert (report.kind, report.loaded, report.new) == ("model", len(first.state_dict()), ())
    assert second.spec.mean == (0.1, 0.2, 0.3)
    assert "names of Elsewhere; input mean (0.1, 0.2, 0.3)" in str(report)


@pytest.mark.usefixtures("layouts")
def test_a_classifier_of_other_classes_or_none_stays_new_with_a_note() -> None:
    first, second = nano(), nano(seed=1)
    random = second.head["label"].weight.clone()
    report = load_weights(second, foreign(first, classes=400))
    assert same(first, second, but=("head.",))
    assert torch.equal(second.head["label"].weight, random)
    assert report.new == ("head",)
    assert "the classifier is new, because the classes differ (400 in the file, 5 here)" in report.notes
    several = create_model("vivit_fe_nano", heads={"verb": 3, "noun": 4}, frames=8, net=NetConfig(tubelet=2))
    assert "(400 in the file, 3, 4 here)" in str(load_weights(several, foreign(first, classes=400)))


@pytest.mark.usefixtures("layouts")
def test_a_layout_fits_other_frames() -> None:
    first, second = nano(frames=8), nano(frames=16, seed=1)
    assert "temporal positions interpolated from 4 to 8 tubelets" in str(load_weights(second, foreign(first)))


@pytest.mark.usefixtures("layouts")
@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda s: s.pop("backbone.cls_token"), "  encoder.cls_token 1x1x96"),
        (lambda s: s.update({"backbone.more": torch.zeros(2)}), r"  encoder.more 2 (file: backbone.more)"),
        (
            lambda s: s.update({"backbone.cls_token": torch.zeros(1, 1, 97)}),
            "  encoder.cls_token: file 1x1x97, model 1x1x96 (file: backbone.cls_token)",
        ),
        (lambda s: s.pop("fc.bias"), "  head.label.bias 5"),
        (lambda s: s.update({"fc.bias": torch.zeros(6)}), "  head.label.bias: file 6, model 5 (file: fc.bias)"),
        (
            lambda s: s.update({"fc.weight": torch.zeros(5, 95)}),
            "  head.label.weight: file 5x95, model 5x96 (file: fc.weight)",
        ),
    ],
)
def test_a_damaged_checkpoint_of_a_layout_is_told_by_our_names_and_its_own(damage: Any, line: str) -> None:
    state, model = foreign(nano()), nano(seed=1)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    damage(state)
    with pytest.raises(UsageError) as error:
        load_weights(model, state)
    assert line in str(error.value).splitlines()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model.spec.mean != FOREIGN.spec["mean"]


def test_a_layout_that_stumbles_over_a_missing_tensor_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(_: nn.Module, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"encoder.q": state["encoder.queries"]}

    monkeypatch.setattr(ViViTFE, "layouts", (replace(FOREIGN, convert=convert),))
    with pytest.raises(UsageError, match=r"names of Elsewhere, but is not whole.*'encoder\.queries' is missing"):
        load_weights(nano(), foreign(nano()))


@pytest.mark.usefixtures("layouts")
def test_our_own_names_come_before_those_of_a_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ViViTFE, "layouts", (replace(FOREIGN, marks=(r"blocks\.0\.",)),))
    first, second = nano(), nano(seed=1)
    assert "names of" not in str(load_weights(second, first.state_dict()))
    assert same(first, second)


@pytest.mark.usefixtures("layouts")
def test_unknown_names_say_which_are_known() -> None:
    with pytest.raises(UsageError, match="none of: ours, Elsewhere"):
        load_weights(nano(), {"stage.0.weight": torch.zeros(1)})


def test_counters_of_batches_may_be_missing(tmp_path: Path) -> None:
    first, second = (create_model("vtn_eff", num_classes=3, frames=4, size=64) for _ in range(2))
    image = {k.removeprefix("encoder.image."): v for k, v in first.state_dict().items() if ".image." in k}
    old = {k: v for k, v in image.items() if not k.endswith("num_batches_tracked")}
    assert len(old) < len(image)
    assert load_weights(second, old).loaded == len(old)
    assert torch.equal(second.encoder.image.conv_stem.weight, image["conv_stem.weight"])


RELEASE = Release("k5", "", "five, as written", "MIT")


def released(monkeypatch: pytest.MonkeyPatch, path: Path, model: nn.Module) -> Any:
    """A model whose card has one release, the file at ``path``; image weights when the card says so."""
    save_weights(path, nano())
    monkeypatch.setattr(model, "card", replace(model.card, releases=(replace(RELEASE, address=str(path)),)))
    return model


def test_a_release_loads_by_name_and_tells_classes_and_licence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = released(monkeypatch, tmp_path / "w.safetensors", nano(seed=1))
    report = load_weights(model, "k5")
    assert same(nano(), model)
    assert report.notes[-2:] == ("classes: five, as written", "licence: MIT")
    with pytest.raises(UsageError, match=r"Unknown weights 'k55'\. Nearest: k5"):
        load_weights(model, "k55")


def test_hub_is_the_first_release_of_a_model_without_image_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = released(monkeypatch, tmp_path / "w.safetensors", nano(seed=1))
    load_weights(model, "hub")
    assert same(nano(), model)
    x3d = create_model("x3d_xs", frames=4, size=64)
    monkeypatch.setattr(x3d, "card", replace(x3d.card, releases=()))
    with pytest.raises(UsageError, match="none of this model"):
        load_weights(x3d, "hub")


def test_weights_of_another_model_are_told_by_name_where_there_are_no_image_weights(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(
        UsageError, match=r"other\.safetensors are not of this model.*conv1\.weight.*ours, PyTorchVideo"
    ):
        load_weights(create_model("x3d_xs", num_classes=3), tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    "header",
    ["{", "[1]", '{"spec": 3}', '{"spec": {"mean": 3}}', '{"spec": {"mean": [0, 0]}}', '{"spec": {"std": [0, 0, 0]}}'],
)
def test_a_damaged_header_is_said_and_the_model_left_alone(header: str, tmp_path: Path) -> None:
    model, before = nano(), nano()
    save_file(nano(seed=1).state_dict(), tmp_path / "w.safetensors", metadata={"kinelite": header})
    with pytest.raises(UsageError, match=r"The header of .*w\.safetensors is damaged"):
        load_weights(model, tmp_path / "w.safetensors")
    assert same(model, before)


def test_a_header_counts_whatever_the_file_is_called(tmp_path: Path) -> None:
    spec = {"mean": (0.4, 0.4, 0.4), "std": (0.5, 0.5, 0.5)}
    save_weights(tmp_path / "w.bin", nano(), {"spec": spec})
    model = nano()
    load_weights(model, tmp_path / "w.bin")
    assert model.spec.mean == (0.4, 0.4, 0.4)
