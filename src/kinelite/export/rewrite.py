"""A model as a graph of the operators that a runtime has."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, fx, nn

from kinelite.export.fold import fold_constants, fold_norms, fold_scales, fold_strides, share_constants
from kinelite.export.graph import write_down
from kinelite.export.layout import lay_out
from kinelite.export.replace import substitute


def rewritten(model: nn.Module, inputs: Sequence[Tensor], axes: int = 8) -> fx.GraphModule:
    """The graph of a model in evaluation mode, without operators over volumes, for inputs of these very shapes.

    Args:
        model: any module that gives logits, a dict of them by task, or a tuple; it stays as it is.
        inputs: a video ``[b, c, t, h, w]``, or what else the module takes; the numbers do not matter.
        axes: dimensions that a permutation may have.

    Returns:
        A module from the inputs to a tuple: the logits of each task.
    """
    graph = write_down(model, inputs)
    fold_constants(graph)
    fold_norms(graph)
    substitute(graph)
    fold_constants(graph)
    lay_out(graph, axes)
    fold_constants(graph)
    fold_scales(graph)
    fold_strides(graph)
    share_constants(graph)
    return graph
