"""Clips and frames turned into each other: the right frames in the right order, without copies."""

from __future__ import annotations

import pytest
import torch

from kinelite.models.frames import clips_of, frames_of


@pytest.mark.parametrize("clips", [1, 2])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last_3d])
def test_frames_stand_clip_by_clip_and_come_back(clips: int, memory: torch.memory_format) -> None:
    video = torch.randn(clips, 3, 4, 5, 6).contiguous(memory_format=memory)
    frames = frames_of(video)
    for i, frame in enumerate(frames):
        assert torch.equal(frame, video[i // 4, :, i % 4])
    again = clips_of(frames, clips)
    assert torch.equal(again, video)
    assert again.data_ptr() == frames.data_ptr()


@pytest.mark.parametrize("shape", [(1, 3, 4, 5, 6), (2, 3, 4, 5, 6), (1, 3, 1, 5, 6), (2, 3, 1, 5, 6)])
def test_channels_stay_last_in_memory_without_a_copy(shape: tuple[int, ...]) -> None:
    video = torch.randn(shape).contiguous(memory_format=torch.channels_last_3d)
    frames = frames_of(video)
    assert frames.data_ptr() == video.data_ptr()
    assert frames.is_contiguous(memory_format=torch.channels_last)
    assert clips_of(frames, shape[0]).is_contiguous(memory_format=torch.channels_last_3d)
