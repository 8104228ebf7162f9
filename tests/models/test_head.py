"""Names of tasks: what a module can hold, and what it cannot is refused in a sentence."""

from __future__ import annotations

import pytest
import torch

from kinelite.errors import UsageError
from kinelite.models.head import FrameHead, Head


@pytest.mark.parametrize("kind", [Head, FrameHead])
@pytest.mark.parametrize("task", ["", "a.b", "forward", "training", "dropout", "_modules", "pop"])
def test_a_name_that_a_module_cannot_have_is_refused(kind: type[Head], task: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a task"):
        kind(4, {"verb": 2, task: 3})


def test_mean_of_logits_per_frame_is_logits_of_the_mean() -> None:
    head = FrameHead(4, {"verb": 2, "noun side": 3}).eval()
    features = torch.randn(2, 5, 4)
    found = head(features)
    assert list(found) == ["verb", "noun side"]
    for task, linear in head.items():
        torch.testing.assert_close(found[task], linear(features).mean(1))
