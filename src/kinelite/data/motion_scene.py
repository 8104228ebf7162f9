"""One clip of the motion set: a scene drawn at random, its attributes over time, its pixels, its H.264 bytes.

A scene has four cyclic attributes, each in units of its own cycle: position x and y on a torus, logarithm of the size,
angle. All four start uniformly at random in every class; a class moves one of them at a time. A uniform phase plus any
displacement is again uniform, so each single frame has the same distribution in all classes, whatever its index: what
tells the classes apart is in the change alone. Every frame is an intra frame of fixed quality, so that coding carries
nothing over from its neighbours either.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import av
import cv2
import numpy as np
from jaxtyping import Float, UInt8

SIZE = 64
FRAMES = 48
RATE_HZ = 24
CYCLES = (1.5, 1.9)
"""Range of the distance travelled in one clip. Of 8 sparse frames two neighbours are at most 11 frames apart, hence
0.45 cycles: below the half at which direction becomes ambiguous."""
RADIUS = (0.2, 0.45)
"""Smallest and largest radius of the shape, as a share of the picture; a cycle of size runs from one to the other."""
QUANTISER = 24
"""x264's constant quantiser; see the module's first lines for why it is constant."""

VERSION = 3
"""Raised with every change to pixels or bytes that the constants do not show, so that no older cache is used."""

X, Y, LOG_SIZE, ANGLE = range(4)

MOTIONS: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "moves_right": ((X, 1), (X, 1)),
    "moves_left": ((X, -1), (X, -1)),
    "moves_down": ((Y, 1), (Y, 1)),
    "moves_up": ((Y, -1), (Y, -1)),
    "grows": ((LOG_SIZE, 1), (LOG_SIZE, 1)),
    "shrinks": ((LOG_SIZE, -1), (LOG_SIZE, -1)),
    "turns_clockwise": ((ANGLE, 1), (ANGLE, 1)),
    "turns_counterclockwise": ((ANGLE, -1), (ANGLE, -1)),
    "right_then_down": ((X, 1), (Y, 1)),
    "down_then_right": ((Y, 1), (X, 1)),
}
"""Class -> attribute and direction in the first and in the second half of the clip."""

# Outlines that no turn below a full one maps onto themselves; they are centred and scaled to radius 1 below.
_OUTLINES = (
    ((-2, -0.7), (0.4, -0.7), (0.4, -1.7), (2.4, 0), (0.4, 1.7), (0.4, 0.7), (-2, 0.7)),  # arrow
    ((-1.2, -2), (0, -2), (0, 0.9), (1.8, 0.9), (1.8, 2), (-1.2, 2)),  # L
    ((-1.2, -2), (1.6, -2), (1.6, -1), (0, -1), (0, -0.2), (1.2, -0.2), (1.2, 0.7), (0, 0.7), (0, 2), (-1.2, 2)),  # F
    ((-1.3, -2), (2.2, -0.9), (-0.4, 0.3), (-0.4, 2), (-1.3, 2)),  # flag
)


def parameters() -> str:
    """All that the files depend on beside the seed, as text."""
    return repr((VERSION, SIZE, FRAMES, RATE_HZ, CYCLES, RADIUS, QUANTISER, MOTIONS, _OUTLINES))


@dataclass(frozen=True)
class Scene:
    """Everything about one clip."""

    motion: str
    """A key of MOTIONS."""
    phases: tuple[float, float, float, float]
    """x, y, log size and angle in the first frame, each in cycles in [0, 1)."""
    cycles: float
    """Distance travelled during the clip."""
    outline: int
    """Which outline the shape has."""
    fill: tuple[int, int, int]
    """RGB of the shape."""
    background: int
    """Seed of the background."""


def draw_scene(motion: str, rng: np.random.Generator) -> Scene:
    """A random scene of class ``motion``. Nothing but the field ``motion`` depends on the class."""
    x, y, log_size, angle = (float(v) for v in rng.random(4))
    vivid = np.array([[[rng.integers(180), rng.integers(170, 256), rng.integers(210, 256)]]], dtype=np.uint8)
    red, green, blue = (int(v) for v in cv2.cvtColor(vivid, cv2.COLOR_HSV2RGB)[0, 0])
    return Scene(
        motion=motion,
        phases=(x, y, log_size, angle),
        cycles=float(rng.uniform(*CYCLES)),
        outline=int(rng.integers(len(_OUTLINES))),
        fill=(red, green, blue),
        background=int(rng.integers(2**32)),
    )


def lengthened(scene: Scene, frames: int) -> Scene:
    """The scene for a clip of ``frames`` frames in which it moves as fast as in one of FRAMES."""
    return replace(scene, cycles=scene.cycles * (frames - 1) / (FRAMES - 1))


def attributes(scene: Scene, frames: int = FRAMES) -> Float[np.ndarray, "t 4"]:
    """x, y, log size and angle of each frame, in cycles in [0, 1)."""
    time = np.linspace(0, 1, frames)
    track = np.tile(np.array(scene.phases), (frames, 1))
    for half, (attribute, sign) in enumerate(MOTIONS[scene.motion]):
        track[:, attribute] += sign * scene.cycles * np.clip(time - half / 2, 0, 0.5)
    track %= 1.0
    # A remainder of a tiny negative number rounds to 1 itself.
    return np.where(track >= 1.0, 0.0, track)


def background(seed: int, size: int = SIZE) -> UInt8[np.ndarray, "h w 3"]:
    """A dark, nearly grey gradient with faint texture: the vivid shape stands out in any place."""
    rng = np.random.default_rng(seed)
    start, end = rng.uniform(10, 60, (2, 1)) + rng.uniform(-8, 8, (2, 3))
    direction = rng.uniform(0, 2 * np.pi)
    ramp = np.linspace(-0.5, 0.5, size)
    along = 0.5 + (np.cos(direction) * ramp + np.sin(direction) * ramp[:, None]) / np.sqrt(2)
    texture = cv2.resize(rng.normal(0, 4, (size // 8, size // 8, 1)), (size, size), interpolation=cv2.INTER_CUBIC)
    picture = start + along[..., None] * (end - start) + texture[..., None]
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _outline(index: int) -> Float[np.ndarray, "n 2"]:
    points = np.array(_OUTLINES[index], dtype=np.float64)
    points -= (points.max(0) + points.min(0)) / 2
    return points / np.linalg.norm(points, axis=1).max()


def _mask(outline: Float[np.ndarray, "n 2"], state: Float[np.ndarray, " a"], size: int) -> UInt8[np.ndarray, "h w"]:
    """Coverage of the shape in one frame, with the copies that reach in across the borders of the torus."""
    radius = size * RADIUS[0] * (RADIUS[1] / RADIUS[0]) ** state[LOG_SIZE]
    turn = 2 * np.pi * state[ANGLE]
    # With y pointing down, this turns clockwise on the screen as the angle grows.
    turned = outline @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    centre = state[[X, Y]] * size
    mask = np.zeros((size, size), dtype=np.uint8)
    steps = [[o for o in (-size, 0, size) if -radius <= c + o <= size + radius] for c in centre]
    for step_x in steps[0]:
        for step_y in steps[1]:
            points = np.rint((radius * turned + centre + (step_x, step_y)) * 256).astype(np.int32)
            cv2.fillPoly(mask, [points], 255, lineType=cv2.LINE_AA, shift=8)
    return mask


def render(scene: Scene, frames: int = FRAMES, size: int = SIZE) -> UInt8[np.ndarray, "t h w 3"]:
    """RGB frames of a scene, before coding."""
    outline = _outline(scene.outline)
    masks = np.stack([_mask(outline, state, size) for state in attributes(scene, frames)])
    behind = background(scene.background, size)
    lift = np.array(scene.fill, dtype=np.float32) - behind
    blended = masks[..., None] * (lift / np.float32(255)) + behind
    return (blended + np.float32(0.5)).astype(np.uint8)


def encode(frames: UInt8[np.ndarray, "t h w 3"]) -> bytes:
    """An MP4 file with one H.264 stream (yuv420p, RATE_HZ). Equal frames give equal bytes."""
    file = io.BytesIO()
    # One thread: with several, x264 cuts the picture differently from machine to machine.
    options = {"preset": "ultrafast", "qp": str(QUANTISER), "g": "1", "bf": "0", "threads": "1"}
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=RATE_HZ, options=options)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()
