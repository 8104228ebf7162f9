"""Convolutions of single pixels, as in squeeze-and-excitation blocks, as products with a matrix."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, fx

from kinelite.export.fold import fold_constants
from kinelite.export.graph import Node, aten, in_place_of, value


def points_as_vectors(graph: fx.GraphModule) -> None:
    """Turn what convolves ``[n, c, 1, 1]`` with a kernel of one pixel into a linear layer of ``[n, c]``, in place."""
    for node in list(graph.graph.nodes):
        if node.target is aten.conv2d.default and _of_points(node):
            in_place_of(graph, node, _product)
    fold_constants(graph)


def _of_points(node: Node) -> bool:
    video, weight, *rest = node.args
    groups = rest[4] if len(rest) > 4 else node.kwargs.get("groups", 1)
    return value(video).shape[2:] == value(node).shape[2:] == value(weight).shape[2:] == (1, 1) and groups == 1


def _product(video: Tensor, weight: Tensor, bias: Tensor | None = None, *_: Any, **__: Any) -> Tensor:
    return F.linear(video.flatten(1), weight.flatten(1), bias)[:, :, None, None]
