"""Scores of a label that is made of others: an action from the heads of verb and noun, or verb and noun from one head.

An action is right when all of its parts are, as in the owner's score of EPIC-Kitchens-100 (Damen et al. 2022): its
score is the product of its parts' probabilities, over all combinations. The other way round, the probability of a verb
is the sum over the actions that contain it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from kinelite.data.manifest import Joint, Manifest

Logits = Mapping[str, Tensor]
"""Task -> logits ``[n, k]``."""
Labels = Mapping[str, Tensor]
"""Task -> class numbers ``[n]``."""


def joint_numbers(logits: Logits, labels: Labels, joint: Joint) -> dict[str, dict[str, Any]]:
    """top1 and top5, as shares, of what the heads in ``logits`` tell about the other labels of ``joint``.

    The key is the label's name, or 'NAME from HEADS' when it has a head of its own. top5 is None for five classes or
    fewer. Each entry says in ``from`` which heads it comes from.
    """
    found: dict[str, dict[str, Any]] = {}
    parts = list(joint.parts)
    if all(part in logits for part in parts):
        right, among = combined([logits[part] for part in parts], [labels[part] for part in parts])
        sizes = torch.tensor([logits[part].shape[-1] for part in parts])
        found |= _entry(joint.name, "+".join(parts), logits, right, among if int(sizes.prod()) > 5 else None)
    if joint.name in logits and joint.members:
        for index, part in enumerate(parts):
            members = torch.tensor([member[index] for member in joint.members])
            shares = marginal(logits[joint.name], members, len(joint.parts[part]))
            truth = members[labels[joint.name]]
            right, among = _hits(shares, truth)
            found |= _entry(part, joint.name, logits, right, among if shares.shape[-1] > 5 else None)
    return found


def combined(
    logits: Sequence[Float[Tensor, "n _"]], labels: Sequence[Int64[Tensor, " n"]]
) -> tuple[Bool[Tensor, " n"], Bool[Tensor, " n"]]:
    """Whether each clip's combination of labels is the most probable one, and whether it is among the five.

    All combinations count, and none has to be written down: the five best are made of the five best of each part.
    """
    right = torch.stack([values.argmax(-1) == label for values, label in zip(logits, labels, strict=True)]).all(0)
    best = [values.float().log_softmax(-1).topk(min(5, values.shape[-1])) for values in logits]
    total, hit = best[0].values, best[0].indices == labels[0][:, None]
    for (values, picks), label in zip(best[1:], labels[1:], strict=True):
        total = (total[:, :, None] + values[:, None, :]).flatten(1)
        hit = (hit[:, :, None] & (picks == label[:, None])[:, None, :]).flatten(1)
    top = total.topk(min(5, total.shape[-1])).indices
    return right, hit.gather(1, top).any(1)


def marginal(logits: Float[Tensor, "n k"], members: Int64[Tensor, " k"], classes: int) -> Float[Tensor, "n parts"]:
    """Probability of each class of a part: the sum over the joint classes that it is a member of.

    ``members`` is the part's class of each joint class; one below 0 is of a class whose parts are not known.
    """
    shares = logits.float().softmax(-1)
    known = members >= 0
    return torch.zeros(len(logits), classes).index_add_(1, members[known], shares[:, known])


def _hits(scores: Float[Tensor, "n k"], truth: Int64[Tensor, " n"]) -> tuple[Bool[Tensor, " n"], Bool[Tensor, " n"]]:
    top = scores.topk(min(5, scores.shape[-1])).indices
    return scores.argmax(-1) == truth, (top == truth[:, None]).any(1)


def _entry(
    name: str, source: str, logits: Logits, right: Bool[Tensor, " n"], among: Bool[Tensor, " n"] | None
) -> dict[str, dict[str, Any]]:
    top5 = None if among is None else among.double().mean().item()
    key = f"{name} from {source}" if name in logits else name
    return {key: {"top1": right.double().mean().item(), "top5": top5, "from": source}}


def renumbered(manifest: Manifest, tasks: Mapping[str, tuple[str, ...]]) -> Joint | None:
    """The joint label of ``manifest`` in the class numbers of ``tasks``, those of a model: by name.

    A joint class that only the model knows is taken apart by its name, 'verb noun'; where that fails too, its part is
    -1 and counts for none.
    """
    joint = manifest.joint
    if joint is None:
        return None
    parts = {part: tuple(tasks.get(part, names)) for part, names in joint.parts.items()}
    if joint.name not in tasks or not joint.members:
        return replace(joint, parts=parts)
    number = {part: {name: k for k, name in enumerate(names)} for part, names in parts.items()}
    known = {
        name: tuple(number[part].get(joint.parts[part][k], -1) for part, k in zip(parts, member, strict=True))
        for name, member in zip(manifest.tasks[joint.name], joint.members, strict=True)
    }
    if not set(tasks[joint.name]) <= set(known):
        known = {
            " ".join(c): tuple(number[p][n] for p, n in zip(parts, c, strict=True)) for c in product(*parts.values())
        } | known
    unknown = (-1,) * len(parts)
    return replace(joint, parts=parts, members=tuple(known.get(name, unknown) for name in tasks[joint.name]))
