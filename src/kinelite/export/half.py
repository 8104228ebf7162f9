"""A graph in half precision, with fp32 at both ends so that it is called like any other."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_map

from kinelite.export.graph import aten, attribute, constant, replace, shape_of, tidy, value


def halved(graph: fx.GraphModule) -> None:
    """Turn all weights and everything that is computed into fp16, in place; input and outputs stay fp32."""
    for node in list(graph.graph.nodes):
        if node.op == "get_attr" and value(node).dtype == torch.float32:
            replace(node, constant(graph, attribute(graph, node).half(), node))
        elif node.op == "placeholder":
            with graph.graph.inserting_after(node):
                cast = graph.graph.call_function(aten.to.dtype, (node, torch.float16))
            cast.meta["val"] = shape_of(cast)
            node.replace_all_uses_with(cast, delete_user_cb=lambda user, own=cast: user is not own)
        elif node.op == "output":
            node.args = tree_map(lambda n, at=node: _single(n, at) if isinstance(n, fx.Node) else n, node.args)
        elif node.op == "call_function":
            # Casts to single precision that a model makes itself are to half, too: its weights are.
            node.args, node.kwargs = tree_map(
                lambda a: torch.float16 if a is torch.float32 else a, (node.args, node.kwargs)
            )
            node.meta["val"] = shape_of(node)
    tidy(graph)


def in_single(graph: fx.GraphModule, operators: Collection[object]) -> None:
    """Let these operators of a halved graph compute in fp32, in place, for a runtime whose own fp16 is wrong."""
    for node in [n for n in graph.graph.nodes if n.op == "call_function" and n.target in operators]:
        node.args, node.kwargs = tree_map(
            lambda a, at=node: _widened(graph, a, at) if isinstance(a, fx.Node) else a, (node.args, node.kwargs)
        )
        node.meta["val"] = shape_of(node)
        with graph.graph.inserting_after(node):
            back = graph.graph.call_function(aten.to.dtype, (node, torch.float16))
        back.meta["val"] = shape_of(back)
        node.replace_all_uses_with(back, delete_user_cb=lambda user, own=back: user is not own)
    tidy(graph)


def _widened(graph: fx.GraphModule, given: fx.Node, before: fx.Node) -> fx.Node:
    if given.op == "get_attr":
        return constant(graph, attribute(graph, given).float(), before)
    return _single(given, before)


def _single(given: fx.Node, before: fx.Node) -> fx.Node:
    with before.graph.inserting_before(before):
        cast = before.graph.call_function(aten.to.dtype, (given, torch.float32))
    found: Tensor = value(given)
    cast.meta["val"] = found.float()
    return cast
