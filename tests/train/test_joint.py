"""Scores of joint labels against plain loops and scikit-learn, and class numbers of a model in another order."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, top_k_accuracy_score
from torch import Tensor, nn

from kinelite.data.manifest import Joint, Manifest, Row
from kinelite.train.assess import in_order_of
from kinelite.train.evaluate import LARGEST_CONFUSION, Scores, numbers, task_numbers
from kinelite.train.joint import combined, joint_numbers, marginal, renumbered
from kinelite.train.trained import Trained
from kinelite.types import InputSpec

VERBS = ("take", "put", "wash")
NOUNS = ("tap", "cup", "bag", "pan")
PAIRS = ((0, 1), (0, 2), (1, 0), (1, 1), (2, 3), (2, 0), (0, 0))
ACTIONS = tuple(f"{VERBS[v]} {NOUNS[n]}" for v, n in PAIRS)
PARTS = {"verb": VERBS, "noun": NOUNS}


def draw(seed: int, clips: int, *sizes: int) -> list[Tensor]:
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.normal(0, 2, (clips, k))).float() for k in sizes]


def choices(seed: int, clips: int, k: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed + 1).integers(0, k, clips))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.lists(st.integers(1, 8), min_size=1, max_size=3))
def test_a_combination_is_scored_among_all_of_them(seed: int, clips: int, sizes: list[int]) -> None:
    logits = draw(seed, clips, *sizes)
    labels = [choices(seed + i, clips, k) for i, k in enumerate(sizes)]
    right, among = combined(logits, labels)
    shares = [values.double().softmax(-1).numpy() for values in logits]
    every = list(product(*map(range, sizes)))
    for clip in range(clips):
        score = {
            combination: np.prod([s[clip, k] for s, k in zip(shares, combination, strict=True)])
            for combination in every
        }
        best = sorted(every, key=lambda combination: -score[combination])
        truth = tuple(int(label[clip]) for label in labels)
        assert bool(right[clip]) == (best[0] == truth)
        assert bool(among[clip]) == (truth in best[:5])


def test_an_action_from_verb_and_noun() -> None:
    logits = dict(zip(PARTS, draw(3, 200, 3, 4), strict=True))
    labels = {"verb": choices(0, 200, 3), "noun": choices(1, 200, 4)}
    found = joint_numbers(logits, labels, Joint("action", PARTS))
    scores = (logits["verb"].softmax(-1)[:, :, None] * logits["noun"].softmax(-1)[:, None]).flatten(1).numpy()
    truth = (labels["verb"] * 4 + labels["noun"]).numpy()
    assert found.keys() == {"action"}
    assert found["action"]["from"] == "verb+noun"
    assert found["action"]["top1"] == pytest.approx(accuracy_score(truth, scores.argmax(-1)))
    assert found["action"]["top5"] == pytest.approx(top_k_accuracy_score(truth, scores, k=5, labels=range(12)))
    assert 0 < found["action"]["top1"] < found["action"]["top5"] < 1


def test_verb_and_noun_from_an_action() -> None:
    (logits,) = draw(4, 200, len(PAIRS))
    truth = choices(2, 200, len(PAIRS))
    found = joint_numbers({"action": logits}, {"action": truth}, Joint("action", PARTS, PAIRS))
    assert found.keys() == {"verb", "noun"}
    for index, (part, names) in enumerate(PARTS.items()):
        shares = np.zeros((200, len(names)))
        for clip in range(200):
            for k, pair in enumerate(PAIRS):
                shares[clip, pair[index]] += logits[clip].softmax(-1)[k].item()
        labels = [PAIRS[k][index] for k in truth.tolist()]
        assert found[part]["top1"] == pytest.approx(accuracy_score(labels, shares.argmax(-1)))
        assert found[part] == {"top1": found[part]["top1"], "top5": None, "from": "action"}
        # Where the sum and the largest single action disagree, it is the sum that counts.
        single = [PAIRS[k][index] for k in logits.argmax(-1).tolist()]
        assert (shares.argmax(-1) != single).any()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(1, 9), st.integers(1, 5))
def test_a_marginal_sums_what_is_known(seed: int, clips: int, k: int, classes: int) -> None:
    (logits,) = draw(seed, clips, k)
    members = choices(seed, k, classes + 1) - 1
    expected = np.zeros((clips, classes))
    for j, member in enumerate(members.tolist()):
        if member >= 0:
            expected[:, member] += logits.double().softmax(-1).numpy()[:, j]
    assert np.allclose(marginal(logits, members, classes).numpy(), expected, atol=1e-6)


def scored(tasks: dict[str, tuple[str, ...]], joint: Joint | None, clips: int = 60) -> tuple[Scores, Manifest]:
    """Random logits, and labels of true pairs for whichever heads there are."""
    pairs = choices(9, clips, len(PAIRS))
    label = {"action": pairs} | {part: torch.tensor(PAIRS)[pairs, i] for i, part in enumerate(PARTS)}
    labels = torch.stack([label[task] for task in tasks], 1)
    rows = tuple(Row(f"{i}.mp4", tuple(row), "val") for i, row in enumerate(labels.tolist()))
    logits = draw(5, clips, *map(len, tasks.values()))
    return Scores(logits, labels, list(range(clips)), []), Manifest("x", tasks, rows, joint=joint)


def test_the_record_has_every_label_whichever_heads_there_are() -> None:
    action = {"action": ACTIONS}
    pairs, both, three = (
        numbers(*scored(PARTS, Joint("action", PARTS))),
        *(numbers(*scored(heads, Joint("action", PARTS, PAIRS))) for heads in (action, PARTS | action)),
    )
    assert list(pairs["tasks"]) == ["verb", "noun", "action"]
    assert list(both["tasks"]) == ["action", "verb", "noun"]
    assert list(three["tasks"]) == [
        "verb",
        "noun",
        "action",
        "action from verb+noun",
        "verb from action",
        "noun from action",
    ]
    assert both["top1"] == both["tasks"]["action"]["top1"]
    assert "confusion" in both["tasks"]["action"]
    assert pairs["tasks"]["action"]["top1"] == three["tasks"]["action from verb+noun"]["top1"]
    assert "tasks" not in numbers(*scored(action, None))


def test_numbers_are_the_same_in_a_models_order(tmp_path: Path) -> None:
    """By name: classes in reverse, two more that the set does not list, one of which has parts that it knows."""
    heads = PARTS | {"action": ACTIONS}
    scores, manifest = scored(heads, Joint("action", PARTS, PAIRS))
    theirs = {
        "action": (*ACTIONS[::-1], "wash bag", "boil egg"),
        "noun": (*NOUNS[::-1], "egg"),
        "verb": ("boil", *VERBS[::-1]),
    }
    moved = in_order_of(Trained(nn.Identity(), InputSpec(4, 32), theirs, "x", tmp_path, tmp_path), manifest)
    assert moved.joint is not None
    for name, member in zip(theirs["action"][:-1], moved.joint.members, strict=False):
        assert " ".join(names[k] for names, k in zip(moved.joint.parts.values(), member, strict=True)) == name
    assert moved.joint.parts == {"verb": theirs["verb"], "noun": theirs["noun"]}
    before = dict(zip(heads, scores.logits, strict=True))
    logits = []
    for task, names in theirs.items():
        known = [heads[task].index(name) if name in heads[task] else -1 for name in names]
        columns = [before[task][:, k] if k >= 0 else torch.full((60,), -1e4) for k in known]
        logits.append(torch.stack(columns, 1))
    again = Scores(logits, torch.tensor([row.labels for row in moved.rows]), scores.indices, [])
    first, second = (numbers(s, m)["tasks"] for s, m in ((scores, manifest), (again, moved)))
    for name in first:
        assert second[name]["top1"] == pytest.approx(first[name]["top1"]), name


def test_renumbering_what_no_name_explains() -> None:
    joint = Joint("action", PARTS, PAIRS)
    manifest = Manifest("x", {"action": ACTIONS}, (), joint=joint)
    found = renumbered(manifest, {"action": ("fly away", "wash bag", ACTIONS[0])})
    assert found == replace(joint, members=((-1, -1), (2, 2), PAIRS[0]))
    assert renumbered(replace(manifest, joint=None), {"action": ACTIONS}) is None
    assert renumbered(manifest, {"action": ACTIONS}) == joint


def test_a_large_confusion_matrix_is_not_kept() -> None:
    (logits,) = draw(1, 4, LARGEST_CONFUSION + 1)
    names = tuple(map(str, range(LARGEST_CONFUSION + 1)))
    labels = choices(1, 4, 9)
    found = task_numbers(logits, labels, names)
    assert found["confusion"] == []
    assert sum(one["clips"] for one in found["per_class"].values()) == 4
    assert len(task_numbers(logits[:, :1000], labels, names[:1000])["confusion"]) == 1000
