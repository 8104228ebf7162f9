"""Why one frame of a motion clip cannot tell its class: the argument, property by property."""

from __future__ import annotations

import io
from dataclasses import replace

import av
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kinelite.data.motion_scene import (
    CYCLES,
    FRAMES,
    MOTIONS,
    RADIUS,
    SIZE,
    Scene,
    attributes,
    background,
    draw_scene,
    encode,
    render,
)

SEGMENT = FRAMES // 8
"""Frames from which each of 8 sparse frames is drawn."""

REVERSED = {
    "moves_right": "moves_left",
    "moves_down": "moves_up",
    "grows": "shrinks",
    "turns_clockwise": "turns_counterclockwise",
}

shares = st.floats(0, 0.999999)
scenes = st.builds(
    Scene,
    motion=st.sampled_from(list(MOTIONS)),
    phases=st.tuples(shares, shares, shares, shares),
    cycles=st.floats(*CYCLES),
    outline=st.integers(0, 3),
    fill=st.just((255, 0, 0)),
    background=st.integers(0, 2**32 - 1),
)


def around(difference: np.ndarray) -> np.ndarray:
    """Differences of cyclic attributes, the short way round."""
    return (difference + 0.5) % 1 - 0.5


def decoded(data: bytes) -> np.ndarray:
    with av.open(io.BytesIO(data)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize("motion", list(MOTIONS))
def test_nothing_but_the_motion_depends_on_the_class(motion: str) -> None:
    drawn = draw_scene(motion, np.random.default_rng(5))
    assert drawn == replace(draw_scene("grows", np.random.default_rng(5)), motion=motion)


@given(scene=scenes, other=st.tuples(shares, shares, shares, shares))
def test_the_way_travelled_is_the_same_from_every_phase(scene: Scene, other: tuple[float, float, float, float]) -> None:
    """Hence uniform phases stay uniform in every frame, in every class."""
    travelled = attributes(scene) - np.array(scene.phases)
    elsewhere = attributes(replace(scene, phases=other)) - np.array(other)
    assert np.abs(around(travelled - elsewhere)).max() < 1e-9
    assert attributes(scene).min() >= 0
    assert attributes(scene).max() < 1


@given(scene=scenes, forward=st.sampled_from(list(REVERSED)))
def test_backwards_a_motion_is_its_opposite(scene: Scene, forward: str) -> None:
    forward_scene = replace(scene, motion=forward)
    last = tuple(float(v) for v in attributes(forward_scene)[-1])
    backward = attributes(replace(scene, motion=REVERSED[forward], phases=(last[0], last[1], last[2], last[3])))
    assert np.abs(around(attributes(forward_scene)[::-1] - backward)).max() < 1e-9


@given(scene=scenes)
def test_the_two_orders_end_in_the_same_place(scene: Scene) -> None:
    first, second = (attributes(replace(scene, motion=m)) for m in ("right_then_down", "down_then_right"))
    assert np.abs(around(first[[0, -1]] - second[[0, -1]])).max() < 1e-9
    assert np.abs(around(first - second)).max() > 0.25


# The second example is the widest gap there is: the first frame of a segment, then the last of the next.
@given(scene=scenes, within=st.lists(st.integers(0, SEGMENT - 1), min_size=8, max_size=8))
@example(scene=Scene("grows", (0.0, 0.0, 0.9, 0.0), CYCLES[1], 0, (255, 0, 0), 0), within=[0, SEGMENT - 1] * 4)
@example(scene=Scene("moves_up", (0.0, 0.1, 0.9, 0.0), CYCLES[1], 0, (255, 0, 0), 0), within=[0, SEGMENT - 1] * 4)
def test_eight_sparse_frames_do_not_alias(scene: Scene, within: list[int]) -> None:
    """The short way round from one frame to the next is the way that was travelled, with some room to spare."""
    picks = np.arange(8) * SEGMENT + np.array(within)
    track = attributes(scene)
    travelled = np.concatenate([np.zeros((1, 4)), np.cumsum(around(np.diff(track, axis=0)), axis=0)])
    steps = np.diff(travelled[picks], axis=0)
    assert np.abs(around(np.diff(track[picks], axis=0)) - steps).max() < 1e-9
    assert np.abs(steps).max() < 0.45


def test_phases_and_speeds_are_uniform_over_scenes() -> None:
    drawn = [draw_scene("grows", np.random.default_rng(i)) for i in range(2000)]
    speeds = (np.array([s.cycles for s in drawn]) - CYCLES[0]) / (CYCLES[1] - CYCLES[0])
    for values in [*np.array([s.phases for s in drawn]).T, speeds]:
        gap = np.abs(np.sort(values) - (np.arange(2000) + 0.5) / 2000).max()
        # Kolmogorov and Smirnov's bound at 99.9 %.
        assert gap < 1.95 / np.sqrt(2000)
    assert {s.outline for s in drawn} == {0, 1, 2, 3}


def area_and_centre(frame: np.ndarray, seed: int) -> tuple[float, np.ndarray]:
    covered = np.abs(frame.astype(int) - background(seed)).sum(2) > 120
    return covered.sum(), np.argwhere(covered).mean(0)[::-1]


@pytest.mark.parametrize(
    ("motion", "direction"),
    [("moves_right", (1, 0)), ("moves_left", (-1, 0)), ("moves_down", (0, 1)), ("moves_up", (0, -1))],
)
def test_directions_on_the_screen(motion: str, direction: tuple[int, int]) -> None:
    scene = Scene(motion, (0.5, 0.5, 0.2, 0.1), 0.6, 0, (255, 40, 40), 3)
    frames = render(scene)
    moved = area_and_centre(frames[12], 3)[1] - area_and_centre(frames[0], 3)[1]
    assert moved / SIZE == pytest.approx(np.array(direction) * 0.6 * 12 / (FRAMES - 1), abs=0.01)


def test_growth_on_the_screen() -> None:
    scene = Scene("grows", (0.5, 0.5, 0.1, 0.1), 0.6, 1, (255, 40, 40), 3)
    small, large = (area_and_centre(render(replace(scene, motion=m))[40], 3)[0] for m in ("moves_right", "grows"))
    ratio = (RADIUS[1] / RADIUS[0]) ** (0.6 * 40 / (FRAMES - 1))
    assert large / small == pytest.approx(ratio**2, rel=0.1)


# Without outline 2, whose long edges lie on the rounding between two pixels.
@pytest.mark.parametrize("outline", [0, 1, 3])
def test_clockwise_on_the_screen(outline: int) -> None:
    """After a quarter of the cycle the shape is what it was, turned by a quarter (the arrow: from right to down)."""
    quarter = 20
    scene = Scene("turns_clockwise", (0.5, 0.5, 0.99, 0.0), 0.25 * (FRAMES - 1) / quarter, outline, (255, 40, 40), 3)
    turned = render(scene)[quarter]
    still = render(replace(scene, motion="moves_right"))[0]
    mask_turned, mask_still = (np.abs(f.astype(int) - background(3)).sum(2) > 120 for f in (turned, still))
    # A picture turns about its middle, the shape about its centre, which is half a pixel further right and down.
    assert (mask_turned == np.roll(np.rot90(mask_still, -1), 1, axis=1)).mean() > 0.99
    assert (mask_turned == np.roll(np.rot90(mask_still), 1, axis=0)).mean() < 0.93


def test_the_shape_stands_out_against_any_place_of_any_background() -> None:
    for seed in range(50):
        scene = draw_scene("grows", np.random.default_rng(seed))
        contrast = np.array(scene.fill) - background(scene.background).astype(int)
        assert contrast.max(axis=2).min() > 100


@settings(max_examples=10, deadline=None)
@given(scene=scenes)
def test_the_shape_loses_nothing_at_the_borders(scene: Scene) -> None:
    """Rolled round the torus, the shape covers the same area anywhere."""
    centred = replace(scene, phases=(0.5, 0.5, *scene.phases[2:]))
    areas = [(render(s, 1)[0].astype(int) - background(s.background) != 0).any(2).sum() for s in (scene, centred)]
    assert areas[0] == pytest.approx(areas[1], rel=0.12, abs=12)


def test_a_coded_frame_holds_nothing_of_its_neighbours() -> None:
    frames = render(draw_scene("turns_clockwise", np.random.default_rng(8)))
    together = decoded(encode(frames))
    assert together.shape == frames.shape
    for index in (0, 1, 20, 47):
        assert np.array_equal(decoded(encode(frames[index : index + 1]))[0], together[index])


def test_coding_keeps_the_picture_and_repeats_itself() -> None:
    frames = render(draw_scene("grows", np.random.default_rng(9)))
    data = encode(frames)
    assert data == encode(frames.copy())
    assert np.abs(decoded(data).astype(int) - frames).mean() < 6
