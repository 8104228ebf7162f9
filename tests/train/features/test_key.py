"""The key holds what stored features depend on, and nothing that they don't."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
import torch

from kinelite.config import NetConfig
from kinelite.data.manifest import Manifest, Row
from kinelite.errors import UsageError
from kinelite.models import create_model
from kinelite.records import plain
from kinelite.train.features.key import Key, differences, fingerprint, make_key, read_key, refuse_other

MANIFEST = Manifest("x", {"label": ("a", "b")}, tuple(Row(f"{i}.mp4", (i % 2,), "train") for i in range(3)))


def model_of(seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    return create_model("vivit_fe_nano", num_classes=2, **({"frames": 8, "size": 32} | options))


def key_of(model: Any = None, manifest: Manifest = MANIFEST, **options: Any) -> Key:
    given: dict[str, Any] = {"net": NetConfig(), "views": 2, "policy": "flip"}
    return make_key(model or model_of(), manifest, **given | options)


def test_equal_runs_have_equal_keys_that_survive_json() -> None:
    key = key_of()
    assert key == key_of(model_of())
    assert key.digest() == key_of().digest()
    assert read_key(plain(asdict(key))) == key
    assert (key.tubelets, key.vectors, key.width, key.policy_name) == (2, 2, 96, "flip")
    assert key_of(phases=3).vectors == 6


@pytest.mark.parametrize(
    ("changed", "fields"),
    [
        ({"model": model_of(1)}, {"weights"}),
        ({"model": model_of(frames=16)}, {"frames"}),
        ({"model": model_of(size=48)}, {"size", "weights"}),
        ({"manifest": replace(MANIFEST, rows=MANIFEST.rows[:2])}, {"data", "clips"}),
        ({"policy": "none"}, {"policy"}),
        ({"seed": 1}, {"seed"}),
        ({"views": 3}, {"views"}),
        ({"phases": 3}, {"phases"}),
        ({"precision": "bf16"}, {"precision"}),
        ({"compute": "bf16"}, {"compute"}),
    ],
    ids=lambda value: ",".join(sorted(value)),
)
def test_whatever_changes_the_features_changes_the_key(changed: dict[str, Any], fields: set[str]) -> None:
    there, now = key_of(), key_of(**changed)
    assert set(differences(there, now)) == fields
    assert there.digest() != now.digest()


def test_what_does_not_reach_the_features_does_not_change_the_key() -> None:
    other = model_of()
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if not name.startswith("encoder."):
                parameter.add_(1)
    other.add_adapter()
    assert key_of(other) == key_of()
    # Without a drawn view neither the policy nor the seed has a say.
    assert key_of(views=1, policy="none", seed=4) == key_of(views=1, policy="flip")


def test_a_single_value_of_a_weight_or_of_a_buffer_counts() -> None:
    model: Any = create_model("vtn:efficientnet_b0", num_classes=2, frames=2, size=32)
    found = {fingerprint(model.encoder)}
    for name in ("image.conv_stem.weight", "image.bn1.running_mean", "image.bn1.num_batches_tracked"):
        tensor = model.encoder.state_dict()[name]
        tensor[(0,) * tensor.ndim] += 1
        found.add(fingerprint(model.encoder))
    assert len(found) == 4


def test_another_store_is_refused_with_what_differs_and_the_next_command() -> None:
    with pytest.raises(UsageError) as refused:
        refuse_other("feats", key_of(), key_of(views=3, model=model_of(frames=16)))
    assert "views: 2 there, 3 now" in str(refused.value)
    assert "frames: 8 there, 16 now" in str(refused.value)
    assert "kinelite features check feats" in str(refused.value)
    refuse_other("feats", key_of(), key_of())


@pytest.mark.parametrize("wrong", [{"views": 0}, {"phases": 2}, {"phases": 0}, {"policy": "flipp"}])
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        key_of(**wrong)
