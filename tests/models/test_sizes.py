"""Frames and pixels that are refused, and the nearest that are not."""

from __future__ import annotations

import pytest
import torch

from kinelite.errors import UsageError
from kinelite.models.sizes import check_patches, check_video, nearest
from kinelite.types import InputSpec


@pytest.mark.parametrize(("given", "near"), [(223, "208 or 224"), (20, "16 or 32"), (15, "16"), (0, "16"), (-3, "16")])
def test_nearest_multiples(given: int, near: str) -> None:
    assert nearest(given, 16) == near


@pytest.mark.parametrize(("size", "near"), [(30, "16 or 32"), (8, "16"), (0, "16")])
def test_pixels_that_patches_do_not_divide(size: int, near: str) -> None:
    message = f"^Some model has patches of 16 pixels and cannot take a size of {size}. Nearest: {near}.$"
    with pytest.raises(UsageError, match=message):
        check_patches("Some model", size, 16)
    check_patches("Some model", 32, 16)


@pytest.mark.parametrize("shape", [(3, 32, 32), (4, 16, 32), (4, 32, 16)])
def test_another_video_than_the_positions_are_made_for(shape: tuple[int, int, int]) -> None:
    spec = InputSpec(4, 32)
    check_video(torch.zeros(1, 3, 4, 32, 32), spec)
    with pytest.raises(UsageError, match=rf"4 frames of 32 x 32 .* got {shape[0]} of {shape[1]} x {shape[2]}\. Build"):
        check_video(torch.zeros(1, 3, *shape), spec)
