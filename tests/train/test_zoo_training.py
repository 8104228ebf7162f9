"""Every registered model learns, and is trained by the one recipe of the lightweight paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import kinelite as kl
from kinelite import recipes
from kinelite.data.dataset import ClipDataset, Reading
from kinelite.data.loader import make_loader
from kinelite.models import create_model, list_models
from kinelite.train.stage import freeze
from kinelite.train.step import normalise
from kinelite.train.trained import load_trained
from kinelite.types import InputSpec

BIG = ("vivit_fe_b", "vivit_fe_l", "vivit_fe_h", "vivit_fe_g", "swin3d_s", "swin3d_b")
"""Too large for a test; of the same classes as vivit_fe_ti and swin3d_t."""
MODELS = [name for name in list_models() if name not in BIG]


@pytest.fixture(scope="module")
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Eight clips of the built-in set, uint8 ``[8, 3, 4, 64, 64]``, and their labels."""
    clips = ClipDataset(kl.load_set("motion:80").only("train"), Reading(InputSpec(4, 64)))
    found = next(iter(make_loader(clips, 8, shuffle=False, workers=0)))
    assert found.frames is not None
    return found.frames[:, 0], found.labels[:, 0]


# More than seven seconds each, and their smaller relatives stay.
LONG = (
    *("timesformer", "i3d_bert", "nl_r50", "nl_r50_c2d", "nl_r50_caffe2", "mvit_b", "tea_r50", "tsm_r50"),
    *("tsm_r50_online", "vtn_r50", "vivit_fe_s"),
)
EACH = [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in MODELS]


@pytest.mark.parametrize("name", EACH)
def test_a_few_steps_lower_the_loss(name: str, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    torch.manual_seed(0)
    model: Any = create_model(name, num_classes=10, frames=4, size=64).train()
    # Of eight steps on eight clips, dropout of 0.8 (I3D-BERT) would leave mostly noise to compare.
    model.head.dropout = 0.0
    video, labels = normalise(batch[0], model.spec, torch.device("cpu")), batch[1]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4)
    losses = []
    for _ in range(8):
        loss = F.cross_entropy(model(video), labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-2:]) / 2 < sum(losses[:2]) / 2


def lightweight(name: str, out: Path, **fields: Any) -> Any:
    small = {"data": "motion:80", "frames": 4, "size": 64, "batch": 8, "epochs": 1, "out": out, "device": "cpu"}
    return kl.train(recipes.lightweight(model=name, **{**small, **fields}))


@pytest.mark.parametrize("name", ["x3d_xs", "movinet_a0"])
def test_the_lightweight_recipe_freezes_the_backbone_for_one_epoch(name: str, tmp_path: Path) -> None:
    record = lightweight(name, tmp_path).record
    assert record.status == "ok"
    assert [stage["froze"] for stage in record.stages] == [["@backbone"], []]
    assert [stage["epochs"] for stage in record.stages] == [1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_model_trains_with_the_lightweight_recipe(name: str, tmp_path: Path) -> None:
    run = lightweight(name, tmp_path)
    assert run.record.status == "ok"
    assert 0 <= run.record.top1 <= 1
    assert (load_trained(run.folder).name, len(run.record.stages)) == (
        name,
        len(recipes.lightweight(model=name).stages),
    )


def test_backbone_is_frozen_as_a_whole_and_nothing_else() -> None:
    model: Any = create_model("vivit_fe_nano", num_classes=3, frames=4)
    frozen = freeze(model, ("@backbone",))
    assert set(frozen.names) == {name for name, _ in model.named_parameters() if name.startswith("encoder.")}
