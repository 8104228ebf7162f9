"""Names at the points of a figure, moved to where they hide least."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise, product

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kinelite.report.figures import clean

SIZE_PT = 7.5
LETTER = 0.56
"""Width of a letter as a share of the size of the type, on average."""
GAP_PT = 5.0
PLACES = [*product((1, -1), (0,)), *product((0,), (1, -1)), *product((1, -1), (1, -1))]
"""Directions that a name is tried in: right, left, above, below, then the corners."""
Box = tuple[float, float, float, float]
Place = tuple[float, float]


def place_labels(
    figure: Figure, axes: Axes, points: Mapping[str, Place], dots: Iterable[Place], steps: Sequence[Place] = ()
) -> None:
    """Write each name beside its point where it overlaps other names, all ``dots``, the line of ``steps`` and the edge
    least; in data units."""
    figure.draw_without_rendering()
    to_pt = 72 / figure.dpi
    places = {name: tuple(to_pt * v for v in axes.transData.transform(point)) for name, point in points.items()}
    edge = axes.get_window_extent()
    drawn = [axes.transData.transform(dot) * to_pt for dot in dots]
    taken: list[Box] = [(x - 4, y - 4, x + 4, y + 4) for x, y in drawn]
    corners = [(float(x), float(y)) for x, y in (axes.transData.transform(step) * to_pt for step in steps)]
    taken += [box for one, two in pairwise(corners) for box in _step(one, two)]
    frame = (edge.x0 * to_pt, edge.y0 * to_pt, edge.x1 * to_pt, edge.y1 * to_pt)
    for name, (x, y) in sorted(places.items(), key=lambda item: item[1]):
        text = clean(name, 24) or ""
        width, height = LETTER * SIZE_PT * len(text), SIZE_PT
        boxes = [_box(x, y, dx, dy, width, height) for dx, dy in PLACES]
        costs = [sum(_overlap(box, other) for other in taken) + 2 * _outside(box, frame) for box in boxes]
        chosen = costs.index(min(costs))
        dx, dy = PLACES[chosen]
        taken.append(boxes[chosen])
        axes.annotate(
            text, points[name], (dx * GAP_PT, dy * GAP_PT), textcoords="offset points", fontsize=SIZE_PT,
            ha=("center", "left", "right")[dx], va=("center", "bottom", "top")[dy], annotation_clip=False,
        )  # fmt: skip


def _step(one: Place, two: Place) -> list[Box]:
    """Across, then up."""
    (x0, y0), (x1, y1) = one, two
    return [(x0, y0 - 1, x1, y0 + 1), (x1 - 1, min(y0, y1), x1 + 1, max(y0, y1))]


def _box(x: float, y: float, dx: int, dy: int, width: float, height: float) -> Box:
    left = x + dx * GAP_PT - (0 if dx > 0 else width if dx < 0 else width / 2)
    low = y + dy * GAP_PT - (0 if dy > 0 else height if dy < 0 else height / 2)
    return left, low, left + width, low + height


def _overlap(one: Box, other: Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return wide * high if wide > 0 and high > 0 else 0.0


def _outside(box: Box, frame: Box) -> float:
    area = (box[2] - box[0]) * (box[3] - box[1])
    return area - _overlap(box, frame)
