"""Everything registered: cards, parameters, cost, frozen names, gradients, and the errors of `create_model`."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from timm.models.vision_transformer import Block
from torch import nn

from kinelite.config import NetConfig
from kinelite.errors import UsageError
from kinelite.models import card, create_model, describe, list_models
from kinelite.models.class_token import ClassTokenBlock
from kinelite.models.cost import count_gmacs

FROZEN = Path(__file__).resolve().parents[1] / "reference" / "models.json"
SMALL = ["vivit_fe_nano", "vivit_fe_ti"]


def on_meta(name: str, **options: object) -> nn.Module:
    with torch.device("meta"):
        return create_model(name, **options)


def digest(model: nn.Module) -> str:
    lines = [f"{name} {tuple(tensor.shape)}" for name, tensor in model.state_dict().items()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, kinelite.models; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_is_still_itself_after_all_models_were_imported() -> None:
    """A module of the same name would take the place of a function when the files of the package are searched."""
    code = "import kinelite.models as m; m.list_models(); import types, sys; "
    code += "sys.exit(any(isinstance(getattr(m, n), types.ModuleType) for n in m.__all__))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_patterns_select_models() -> None:
    assert list_models("vivit_fe_?") == [f"vivit_fe_{size}" for size in "bghls"]
    assert list_models("nothing*") == []


def frozen_facts(name: str) -> dict[str, object]:
    model = on_meta(name)
    return {"weights": digest(model), "parameters": sum(p.numel() for p in model.parameters())}


@pytest.mark.parametrize("name", list_models())
def test_names_and_shapes_of_weights_are_frozen(name: str) -> None:
    """Saved weights of users carry these names. `python tests/models/test_registry.py` adds the line of a new model; to
    change a line, delete it first, and know that it breaks their files."""
    assert json.loads(FROZEN.read_text()).get(name) == frozen_facts(name)


@pytest.mark.parametrize("name", list_models())
def test_card_agrees_with_the_model(name: str) -> None:
    facts, described = card(name), describe(name)
    assert facts.summary
    assert described["spec"] == {**described["spec"], "frames": facts.spec.frames, "size": facts.spec.size}
    assert tuple(described["spec"]["mean"]) == facts.spec.mean
    if facts.params_m is not None:
        assert described["params_m"] == pytest.approx(facts.params_m, rel=0.005)
    if facts.gmacs is not None:
        assert described["gmacs"] == pytest.approx(facts.gmacs, rel=0.005)
    assert sum(described["params"].values()) / 1e6 == pytest.approx(described["params_m"])


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("vivit_fe_s", 25_376_272), ("vivit_fe_b", 115_063_000), ("vivit_fe_l", 354_900_000), ("vivit_fe_h", 711_150_000)],
)
def test_published_parameter_counts(name: str, parameters: int) -> None:
    count = sum(p.numel() for p in on_meta(name).parameters())
    assert count == parameters if name == "vivit_fe_s" else abs(count - parameters) < 10_000


def test_twenty_four_temporal_layers_of_the_kinetics_releases() -> None:
    model = on_meta("vivit_fe_l", net=NetConfig(temporal_layers=24))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(606.83, abs=0.01)


SPECIFIED = {
    "tsm_r50": (24_327_632, 65.41),
    "nl_r50": (31_686_096, 146.1),
    "tea_r50": (24_919_354, 69.08),
    "i3d_bert": (50_590_000, 68.0),
    "vtn_r50": (26_509_776, 65.44),
    "vtn_eff": (6_812_684, 6.20),
    "timesformer": (121_572_496, 392.07),
    "vivit_fe_s": (25_376_272, 73.64),
    "swin3d_t": (28_158_070, 43.88),
    "mvit_s": (26_038_032, 29.95),
    "mvit_b": (36_610_672, 70.60),
    "x3d_xs": (3_794_274, 4.73),
    "movinet_a0": (2_701_999, 1.324),
    "movinet_a2": (4_839_762, 3.70),
    "vivit_fe_b": (115_063_000, 283.3),
    "vivit_fe_l": (354_900_000, 988.2),
    "vivit_fe_h": (711_150_000, 2041.0),
    "vivit_fe_g": (1_113_600_000, 4278.0),
}
"""Parameters and GMACs at 400 classes, counted outside this project from the authors' code and the papers' tables."""


LAST_BLOCKS = {
    "vivit_fe_s": [(16, 197, 384, 1536), (1, 17, 384, 1536)],
    "vivit_fe_b": [(16, 197, 768, 3072), (1, 17, 768, 3072)],
    "vivit_fe_l": [(16, 197, 1024, 4096), (1, 17, 1024, 4096)],
    "vivit_fe_h": [(16, 197, 1280, 5120), (1, 17, 1280, 5120)],
    "vivit_fe_g": [(16, 257, 1408, 6144), (1, 17, 1408, 6144)],
    "vtn_r50": [(1, 17, 256, 1024)],
    "vtn_eff": [(1, 17, 256, 1024)],
}
"""Sequences, tokens, width and MLP width of the last block in space and the last in time where these compute the class
token alone."""


def left_out(sequences: int, tokens: int, width: int, mlp_width: int) -> float:
    """GMACs of the other tokens' queries, attention, projection and MLP in one block."""
    per_token = 2 * width**2 + 2 * width * mlp_width + 2 * tokens * width
    return sequences * (tokens - 1) * per_token / 1e9


@pytest.mark.parametrize("name", SPECIFIED)
def test_parameters_and_cost_are_those_of_the_specification(name: str) -> None:
    parameters, gmacs = SPECIFIED[name]
    found = describe(name)
    assert found["params_m"] * 1e6 == pytest.approx(parameters, rel=0.005 if parameters % 1000 == 0 else 1e-9)
    if name in LAST_BLOCKS:
        gmacs -= sum(left_out(*block) for block in LAST_BLOCKS[name])
        assert "class token alone" in card(name).difference
    assert found["gmacs"] == pytest.approx(gmacs, rel=0.005)


@pytest.mark.parametrize("name", LAST_BLOCKS)
def test_the_last_block_in_time_costs_what_the_formula_says(name: str) -> None:
    """With the blocks that compute all tokens, as timm has them; a thousandth of the model, so counted exactly."""
    model = on_meta(name)
    for part in (model.encoder, model.temporal):
        if isinstance(getattr(part, "blocks", [None])[-1], ClassTokenBlock):
            part.blocks[-1].__class__ = Block
    whole = count_gmacs(model, model.spec)
    assert whole - describe(name)["gmacs"] == pytest.approx(sum(left_out(*b) for b in LAST_BLOCKS[name]), rel=1e-6)


def test_describing_neither_changes_the_model_nor_the_random_numbers() -> None:
    model = create_model("vivit_fe_nano", num_classes=5, frames=8)
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    facts = describe(model)
    describe("vivit_fe_nano")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert facts["weights_mib"] == pytest.approx(4 * sum(p.numel() for p in model.parameters()) / 2**20)


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name, num_classes=4, frames=4)
    model(torch.randn(1, 3, 4, model.spec.size, model.spec.size)).square().sum().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@pytest.mark.parametrize("name", [n for n in list_models() if n not in SMALL])
def test_large_models_run_forward_and_backward_on_meta(name: str) -> None:
    model = on_meta(name, heads={"verb": 97, "noun": 300}, frames=4)
    logits = model(torch.empty(1, 3, 4, model.spec.size, model.spec.size, device="meta"))
    sum(value.sum() for value in logits.values()).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_every_number_of_frames_is_another_number_of_positions() -> None:
    shapes = {f: on_meta("vivit_fe_ti", frames=f).temporal.positions.shape[1] for f in (8, 32, 128)}
    assert shapes == {8: 5, 32: 17, 128: 65}


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("vivit_fe_tj", {}, "Nearest: vivit_fe_ti"),
        ("vivit_fe", {}, "vivit_fe:ENCODER"),
        ("vivit_fe:vit_tny_patch16_224", {}, "Nearest: vit_tiny_patch16_224"),
        ("vivit_fe:vit_tiny_patch16_224.wrong", {}, "vit_tiny_patch16_224.augreg_in21k"),
        ("vivit_fe:resnet50", {}, "not a vision transformer"),
        ("vivit_fe:vit_tiny_patch16_224", {"net": NetConfig(encoder="deit_tiny_patch16_224")}, "Two encoders"),
        ("vivit_fe_nano", {"frames": 7, "net": NetConfig(tubelet=2)}, "Nearest: 6 or 8"),
        ("vivit_fe_nano", {"frames": 1, "net": NetConfig(tubelet=2)}, "Nearest: 2"),
        ("vivit_fe_nano", {"frames": 0}, "frames must be 1 or more"),
        ("vivit_fe_nano", {"size": 0}, "size must be 1 or more"),
        ("vivit_fe_nano", {"size": 70}, "Nearest: 64 or 80"),
        ("vivit_fe_nano", {"num_classes": 3, "heads": {"label": 3}}, "not both"),
        ("vivit_fe_nano", {"num_classes": 0}, "at least one class"),
        ("vivit_fe_nano", {"heads": {}}, "at least one class"),
        ("vivit_fe_nano", {"heads": {"keys": 3}}, "name of a task"),
        ("vivit_fe_nano", {"net": NetConfig(drop_path=1.0)}, "net.drop_path"),
        ("vivit_fe_nano", {"net": NetConfig(dropout=-0.1)}, "net.dropout"),
        ("vivit_fe_nano", {"net": NetConfig(tubelet=0)}, "net.tubelet"),
        ("vivit_fe_nano", {"net": NetConfig(temporal_layers=0)}, "net.temporal_layers"),
    ],
)
def test_what_cannot_be_built_is_refused_with_what_could_be_meant(name: str, options: dict, said: str) -> None:
    with pytest.raises(UsageError) as error:
        create_model(name, **options)
    assert said in str(error.value)


if __name__ == "__main__":
    kept = json.loads(FROZEN.read_text())
    lines = {name: kept.get(name) or frozen_facts(name) for name in list_models()}
    FROZEN.write_text(json.dumps(lines, indent=1) + "\n")


@pytest.mark.parametrize("name", [name for name in list_models() if name not in ("vivit_fe_h", "vivit_fe_g")])
def test_frames_and_pixels_that_are_taken_work_and_others_are_refused(name: str) -> None:
    for frames, size in ((1, 20), (3, 33), (7, 64), (2, 17), (5, 100)):
        with torch.device("meta"):
            try:
                model = create_model(name, num_classes=3, frames=frames, size=size).eval()
            except UsageError as refused:
                assert "Nearest: " in str(refused)  # noqa: PT017
                continue
            assert model(torch.empty(1, 3, frames, size, size)).shape == (1, 3)


def test_an_empty_name_of_weights_is_not_taken_for_none() -> None:
    with pytest.raises(UsageError):
        create_model("vivit_fe_nano", num_classes=3, pretrained="")
