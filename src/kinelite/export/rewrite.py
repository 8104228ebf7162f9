"""A model as a graph of the operators that a runtime has."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, fx, nn

from kinelite.export.fold import fold_constants, fold_norms, fold_scales, fold_strides
from kinelite.export.graph import write_down
from kinelite.export.layout import lay_out
from kinelite.export.replace import substitute


def rewritten(model: nn.Module, video: Float[Tensor, "b c t h w"], axes: int = 8) -> fx.GraphModule:
    """The graph of a model in evaluation mode, without operators over volumes, for videos of this very shape.

    Args:
        model: any that takes ``video``; it stays as it is.
        video: an example; its numbers do not matter.
        axes: dimensions that a permutation may have.

    Returns:
        A module from a video to the logits of each task, a tuple.
    """
    graph = write_down(model, video)
    fold_constants(graph)
    fold_norms(graph)
    substitute(graph)
    fold_constants(graph)
    lay_out(graph, axes)
    fold_constants(graph)
    fold_scales(graph)
    fold_strides(graph)
    return graph
