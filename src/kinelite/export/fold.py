"""What does not depend on the video, computed once; batch norms as part of the convolution before them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_map

from kinelite.export.graph import Node, aten, attribute, call, constant, replace, tidy, value

GROWTH = 4
"""Times the size of its operands that a constant may have: tables of attention biases are made when they are needed."""
SMALL = 2**16
"""Numbers that may be kept whatever they are made of."""
SHAPED = (
    *(aten.new_zeros.default, aten.new_ones.default, aten.new_full.default, aten.zeros_like.default),
    *(aten.ones_like.default, aten.full_like.default),
)
"""Operators that use nothing of their operand but its shape and type."""
CONVOLUTIONS = (aten.conv1d.default, aten.conv2d.default, aten.conv3d.default)


def fold_constants(module: fx.GraphModule) -> None:
    """Replace what is computed from weights alone by its value, where that is not much larger than its operands."""
    known: dict[fx.Node, Any] = {}
    with torch.no_grad():
        for node in module.graph.nodes:
            if node.op == "get_attr":
                known[node] = attribute(module, node)
            elif node.op == "call_function" and _foldable(node, known):
                args, kwargs = tree_map(lambda n: _known(n, known), (node.args, node.kwargs))
                known[node] = node.target(*args, **kwargs)
    made = [n for n in known if n.op != "get_attr" and any(user not in known for user in n.users)]
    for node in made:
        if isinstance(known[node], Tensor):
            replace(node, constant(module, known[node].clone(), node))
    tidy(module)


def fold_norms(module: fx.GraphModule) -> None:
    """A batch norm with fixed statistics is a factor and an offset per channel: into the convolution, or as these."""
    for node in list(module.graph.nodes):
        if node.target is not aten.batch_norm.default:
            continue
        given, *statistics, _, _, eps, _ = node.args
        weight, bias, mean, variance = (n and attribute(module, n) for n in statistics)
        scale = torch.rsqrt(variance + eps) * (1 if weight is None else weight)
        offset = (0 if bias is None else bias) - mean * scale
        if given.target in CONVOLUTIONS and len(given.users) == 1 and given.args[1].op == "get_attr":
            _fold_into(module, given, scale, offset)
            replace(node, given)
            continue
        shape = (-1, *[1] * (value(node).ndim - 2))
        scaled = call(node, aten.mul.Tensor, given, constant(module, scale.reshape(shape), node))
        replace(node, call(node, aten.add.Tensor, scaled, constant(module, offset.reshape(shape), node)))
    tidy(module)


def fold_scales(module: fx.GraphModule) -> None:
    """Factors and offsets per channel behind a convolution, such as those of a norm that stood further off."""
    for node in list(module.graph.nodes):
        operands: tuple[Node, ...] = (*node.args, None, None)
        conv, other = operands[:2]
        if node.target not in (aten.mul.Tensor, aten.add.Tensor) or not isinstance(conv, fx.Node):
            continue
        kernel: Node = conv.args[1] if conv.target is aten.conv2d.default else None
        if kernel is None or len(conv.users) > 1 or kernel.op != "get_attr":
            continue
        factor = _per_channel(module, other, value(conv).shape[1])
        if factor is None or node.kwargs:
            continue
        one, zero = torch.ones_like(factor), torch.zeros_like(factor)
        _fold_into(module, conv, *((factor, zero) if node.target is aten.mul.Tensor else (one, factor)))
        replace(node, conv)
    tidy(module)


def fold_strides(module: fx.GraphModule) -> None:
    """Every other row and column in front of a 1x1 convolution, as its stride."""
    for node in list(module.graph.nodes):
        if node.target is not aten.conv2d.default or list(value(node.args[1]).shape[2:]) != [1, 1]:
            continue
        given, stride = node.args[0], [1, 1]
        while given.target is aten.slice.Tensor and len(given.args) == 5 and len(given.users) == 1:
            source, dim, start, end, step = given.args
            dim %= 4
            whole = not start and end is not None and end >= value(source).shape[dim]
            if value(given).ndim != 4 or dim < 2 or not whole or stride[dim - 2] > 1:
                break
            given, stride[dim - 2] = source, step
        plain: tuple[Any, ...] = (None, [1, 1], [0, 0], [1, 1], 1)
        rest = (*node.args[2:], *plain[len(node.args) - 2 :])
        if given is node.args[0] or list(rest[1]) != [1, 1] or list(rest[2]) != [0, 0]:
            continue
        node.args = (given, node.args[1], rest[0], stride, *rest[2:])
    tidy(module)


def share_constants(module: fx.GraphModule) -> None:
    """Equal tables, such as those of the distances in every window, once."""
    seen: dict[tuple[Any, ...], list[fx.Node]] = {}
    for node in list(module.graph.nodes):
        if node.op != "get_attr":
            continue
        own = attribute(module, node)
        alike = seen.setdefault((own.dtype, tuple(own.shape), float(own.double().sum())), [])
        same = next((n for n in alike if torch.equal(attribute(module, n), own)), None)
        if same is None:
            alike.append(node)
        else:
            replace(node, same)
    tidy(module)


def _per_channel(module: fx.GraphModule, given: Any, channels: int) -> Tensor | None:
    """A weight of one number per channel of maps ``[n, c, h, w]``."""
    if not isinstance(given, fx.Node) or given.op != "get_attr":
        return None
    shape = tuple(value(given).shape)
    if shape not in ((channels, 1, 1), (1, channels, 1, 1)):
        return None
    return attribute(module, given).reshape(-1)


def _fold_into(module: fx.GraphModule, conv: Node, scale: Tensor, offset: Tensor) -> None:
    weight = attribute(module, conv.args[1])
    bias = attribute(module, conv.args[2]) if len(conv.args) > 2 and conv.args[2] is not None else 0
    weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    made = [constant(module, tensor, conv) for tensor in (weight, bias * scale + offset)]
    conv.args = (conv.args[0], *made, *conv.args[3:])


def _foldable(node: fx.Node, known: dict[fx.Node, Any]) -> bool:
    if node.target in SHAPED:
        return value(node).numel() <= SMALL
    inputs = node.all_input_nodes
    if any(n not in known for n in inputs) or "rand" in str(node.target):
        return False
    result = value(node)
    if not isinstance(result, Tensor):
        return True
    given = sum(known[n].numel() for n in inputs if isinstance(known[n], Tensor))
    return result.numel() <= max(SMALL, GROWTH * given)


def _known(n: Any, known: dict[fx.Node, Any]) -> Any:
    if not isinstance(n, fx.Node):
        return n
    return known[n] if n in known else torch.empty(value(n).shape, dtype=value(n).dtype)
