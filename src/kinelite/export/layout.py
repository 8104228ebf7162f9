"""Rearrangements put off until an operator needs them, so that most cancel out and the others are done once.

Models here keep clips ``[b, c, t, h, w]`` in channels-last memory, where frames, rows and columns are views of each
other. A runtime has no such memory: every permutation would be a copy. The graph is written anew; a value is a node and
`Axes`, the rearrangement of it that is still owed, and an operator that treats all numbers alike is applied to the node
itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx
from torch.utils._pytree import tree_map

from kinelite.export.axes import Axes, gathered, groups, swaps
from kinelite.export.graph import Node, aten, attribute, constant, shape_of, tidy, value

VIEWS = (
    *(aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.unsqueeze.default),
    *(aten.squeeze.dim, aten.squeeze.dims, aten.squeeze.default, aten.flatten.using_ints, aten.unflatten.int),
)
ORDERS = (aten.permute.default, aten.transpose.int, aten.t.default)
ONE_BY_ONE = (
    *(aten.relu.default, aten.silu.default, aten.sigmoid.default, aten.gelu.default, aten.hardswish.default),
    *(aten.hardsigmoid.default, aten.tanh.default, aten.sqrt.default, aten.rsqrt.default, aten.neg.default),
    *(aten.clamp.default, aten.clamp_min.default, aten.pow.Tensor_Scalar, aten.to.dtype, aten._to_copy.default),
    *(aten.mul.Scalar, aten.add.Scalar, aten.sub.Scalar, aten.div.Scalar, aten.hardtanh.default),
)
"""Operators that treat each number of their operand alike."""
TWO = (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor, aten.maximum.default)
"""Operators that treat each pair of numbers alike."""


@dataclass(frozen=True)
class Laid:
    """A node, and the rearrangement that makes the value of it."""

    node: fx.Node
    axes: Axes


class Layout:
    """One writing of a graph. ``most``: axes that a permutation may have; more are done as several exchanges."""

    def __init__(self, module: fx.GraphModule, most: int) -> None:
        self.module, self.most = module, most
        self.graph = fx.Graph(owning_module=module)
        self.laid: dict[fx.Node, Any] = {}
        self.done: dict[tuple[fx.Node, Axes], fx.Node] = {}

    def write(self) -> None:
        """Put the new graph in the place of the old one."""
        for node in self.module.graph.nodes:
            if node.op == "output":
                self.graph.output(tree_map(self._plain, node.args[0]))
            elif node.op == "call_function":
                self.laid[node] = self._rule(node)(node) or self._kept(node)
            else:
                self.laid[node] = self._whole(self._copied(node))
        self.module.graph = self.graph
        tidy(self.module)

    def _rule(self, node: Node) -> Callable[[Node], Laid | None]:
        if node.target in VIEWS:
            return self._view
        if node.target in ORDERS:
            return self._order
        if node.target in ONE_BY_ONE:
            return self._one_by_one
        rules = {
            aten.slice.Tensor: self._slice,
            aten.constant_pad_nd.default: self._pad,
            aten.pad.default: self._pad,
            aten.cat.default: self._cat,
            aten.linear.default: self._linear,
            aten.matmul.default: self._matmul,
            **dict.fromkeys(TWO, self._two),
        }
        return rules.get(node.target, lambda _: None)

    def _kept(self, node: fx.Node) -> Any:
        made = self._copied(node)
        return self._whole(made) if isinstance(value(made), Tensor) else made

    def _copied(self, node: fx.Node) -> fx.Node:
        made = self.graph.node_copy(node, lambda n: self._plain(n))
        made.meta = {"val": value(node)}
        return made

    def _whole(self, node: fx.Node) -> Laid:
        return Laid(node, Axes.of(value(node).shape))

    def _call(self, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        node = self.graph.call_function(target, args, kwargs)
        node.meta["val"] = shape_of(node)
        return node

    def _plain(self, old: Any) -> Any:
        """The new node with the value of an old one, rearranged now."""
        if not isinstance(old, fx.Node):
            return old
        laid = self.laid[old]
        return self._arranged(laid) if isinstance(laid, Laid) else laid

    def _arranged(self, laid: Laid) -> fx.Node:
        key = (laid.node, laid.axes)
        if key not in self.done:
            shape, order = laid.axes.moves_needed()
            node = laid.node
            if order != tuple(range(len(order))):
                node = self._permuted(self._viewed(node, shape), order)
            self.done[key] = self._viewed(node, laid.axes.shape)
        return self.done[key]

    def _viewed(self, node: fx.Node, shape: Any) -> fx.Node:
        return node if tuple(value(node).shape) == tuple(shape) else self._call(aten.reshape.default, node, list(shape))

    def _permuted(self, node: fx.Node, order: tuple[int, ...]) -> fx.Node:
        if len(order) <= self.most:
            return self._call(aten.permute.default, node, list(order))
        sizes = list(value(node).shape)
        now = list(range(len(order)))
        for counts, after in swaps(order):
            blocks, start = [], 0
            for count in counts:
                length = 1
                for place in now[start : start + count]:
                    length *= sizes[place]
                blocks.append(length)
                start += count
            turned = self._call(aten.permute.default, self._viewed(node, blocks), [0, 2, 1, 3])
            node, now = turned, list(after)
        return node

    def _input(self, node: fx.Node) -> Laid | None:
        first = node.args[0]
        laid = self.laid.get(first) if isinstance(first, fx.Node) else None
        return laid if isinstance(laid, Laid) else None

    def _view(self, node: Node) -> Laid | None:
        given = self._input(node)
        if given is None:
            return None
        axes = given.axes.viewed(value(node).shape)
        if axes is None:
            arranged = self._whole(self._arranged(given))
            axes = arranged.axes.viewed(value(node).shape)
            return Laid(arranged.node, axes) if axes else self._whole(self._viewed(arranged.node, value(node).shape))
        return Laid(given.node, axes)

    def _order(self, node: Node) -> Laid | None:
        given = self._input(node)
        if given is None:
            return None
        rank = len(given.axes.dims)
        order = list(range(rank))
        if node.target is aten.permute.default:
            order = [place % rank for place in node.args[1]]
        elif rank > 1:
            first, second = node.args[1:3] if node.target is aten.transpose.int else (0, 1)
            order[first % rank], order[second % rank] = second % rank, first % rank
        return Laid(given.node, given.axes.permuted(order))

    def _one_by_one(self, node: Node) -> Laid | None:
        given = self._input(node)
        return given and Laid(self._call(node.target, given.node, *node.args[1:], **node.kwargs), given.axes)

    def _two(self, node: Node) -> Laid | None:
        operands: list[Any] = [self.laid.get(a) if isinstance(a, fx.Node) else a for a in node.args]
        sized = [a for a in operands if isinstance(a, Laid) and a.axes.shape == tuple(value(node).shape)]
        if not sized:
            return None
        main = next((a for a in sized if a.axes.moves), sized[0])
        if any(isinstance(a, Laid) and not _alike(a, main) for a in operands):
            main, operands = self._fine(main), [self._fine(a) if a is main else a for a in operands]
        new = [self._like(a, main) if isinstance(a, Laid) else a for a in operands]
        return Laid(self._call(node.target, *new, **node.kwargs), main.axes)

    def _fine(self, laid: Laid) -> Laid:
        """The same with a node whose dimensions are axes, or several of them."""
        shape, dims = laid.axes.split(own := value(laid.node).shape)
        return laid if groups(own, shape) else Laid(self._viewed(laid.node, shape), gathered(shape, dims))

    def _like(self, other: Laid, main: Laid) -> fx.Node:
        """Another operand as it meets the numbers of the main one where that lies: for each axis all, or one."""
        if _alike(other, main):
            return other.node
        own = tuple(value(main.node).shape)
        shape, dims = main.axes.split(own)
        owner = {axis: dim for dim, axes in enumerate(dims) for axis in axes}
        sizes = (1,) * (len(dims) - len(other.axes.dims)) + other.axes.shape
        full = [sizes[owner[axis]] > 1 for axis in range(len(shape))]
        order = [axis for axes in dims for axis in axes]
        apart = [shape[axis] if full[axis] else 1 for axis in order]
        seen = other.axes.viewed(apart)
        if seen is None:
            other = self._whole(self._viewed(self._arranged(other), apart))
            seen = other.axes
        seen = seen.permuted([order.index(axis) for axis in range(len(shape))])
        # Axes that are one dimension of the main node are met together: all of them, or one number for all.
        own_axes = groups(own, shape)
        assert own_axes is not None
        whole = [any(full[axis] for axis in group) for group in own_axes]
        met = [size if w else 1 for size, w in zip(own, whole, strict=True)]
        wide = [shape[axis] if w else 1 for w, group in zip(whole, own_axes, strict=True) for axis in group]
        if wide == list(seen.shape):
            last = seen.viewed(met)
            assert last is not None
            return self._arranged(Laid(other.node, last))
        part = self._arranged(Laid(other.node, seen))
        return self._viewed(self._call(aten.expand.default, part, wide), met)

    def _apart(self, laid: Laid, dim: int) -> tuple[fx.Node, int, tuple[tuple[int, ...], ...]] | None:
        """The node with every axis apart, which of them a dimension of the value is, and the dimensions' axes."""
        own = tuple(value(laid.node).shape)
        shape, dims = laid.axes.split(own)
        if len(dims[dim]) != 1:
            return None
        if tuple(size for size in own if size > 1) == shape:
            # Its own shape will do, with dimensions of size 1 between.
            places = [place for place, size in enumerate(own) if size > 1]
            dims = tuple(tuple(places[axis] for axis in axes) for axes in dims)
            return laid.node, dims[dim][0], dims
        return self._viewed(laid.node, shape), dims[dim][0], dims

    def _slice(self, node: Node) -> Laid | None:
        given = self._input(node)
        rest: tuple[Any, ...] = (*node.args[1:], *(0, None, None)[len(node.args) - 1 :])
        dim, *bounds = rest
        found = given and given.axes.moves and self._apart(given, dim % len(given.axes.dims))
        if not found:
            return None
        source, axis, dims = found
        made = self._call(aten.slice.Tensor, source, axis, *bounds)
        return Laid(made, gathered(value(made).shape, dims))

    def _pad(self, node: Node) -> Laid | None:
        given, pads = self._input(node), list(node.args[1])
        if node.target is aten.pad.default and len(node.args) > 2 and node.args[2] != "constant":
            return None
        if given is None or not given.axes.moves:
            return None
        rank = len(given.axes.dims)
        padded = [rank - 1 - place for place in range(len(pads) // 2) if any(pads[2 * place : 2 * place + 2])]
        found = [self._apart(given, dim) for dim in padded]
        if not found or found[0] is None or None in found:
            return None
        source, _, dims = found[0]
        own = [0] * (2 * len(value(source).shape))
        for dim in padded:
            axis, place = dims[dim][0], rank - 1 - dim
            behind = len(value(source).shape) - 1 - axis
            own[2 * behind : 2 * behind + 2] = pads[2 * place : 2 * place + 2]
        fill = node.args[-1] if len(node.args) == (4 if node.target is aten.pad.default else 3) else 0.0
        made = self._call(aten.constant_pad_nd.default, source, own, fill or 0.0)
        return Laid(made, gathered(value(made).shape, dims))

    def _cat(self, node: Node) -> Laid | None:
        parts = [self.laid[n] for n in node.args[0]]
        dim = (node.args[1] if len(node.args) > 1 else 0) % value(node).ndim
        if not parts[0].axes.moves:
            return None
        found = [self._apart(part, dim) for part in parts]
        if found[0] is None or any(f is None or f[1:] != found[0][1:] for f in found):
            return None
        _, axis, dims = found[0]
        sources = [f[0] for f in found if f is not None]
        others = {tuple(s for at, s in enumerate(value(n).shape) if at != axis) for n in sources}
        if len(others) > 1:
            return None
        made = self._call(aten.cat.default, sources, axis)
        return Laid(made, gathered(value(made).shape, dims))

    def _linear(self, node: Node) -> Laid | None:
        """A linear layer over the channels of maps is a 1x1 convolution, which wants them where they are."""
        given, weight = self._input(node), node.args[1]
        if given is None or value(given.node).ndim != 4 or not given.axes.moves or weight.op != "get_attr":
            return None
        channels = value(given.node).shape[1]
        pixels = value(given.node).shape[2] * value(given.node).shape[3]
        if given.axes.dims[-1] != (((channels, pixels),) if channels > 1 else ()) or pixels == 1:
            return None
        kernel = constant(self.module, attribute(self.module, weight)[:, :, None, None], self.graph)
        bias = self._plain(node.args[2]) if len(node.args) > 2 else None
        made = self._call(aten.conv2d.default, given.node, kernel, bias)
        shape, dims = given.axes.split()
        axis = dims[-1][0]
        return Laid(made, gathered([*shape[:axis], value(made).shape[1], *shape[axis + 1 :]], dims))

    def _matmul(self, node: Node) -> Laid | None:
        """A product with a matrix that would have to be turned, as the product the other way round."""
        left, right = (self.laid[n] for n in node.args)
        rank = len(right.axes.dims)
        turn = [*range(rank - 2), rank - 1, rank - 2]
        turned = right.axes.permuted(turn)
        if not right.axes.moves or turned.moves or len(left.axes.dims) != 2:
            return None
        other = self._call(aten.permute.default, self._arranged(left), [1, 0])
        made = self._call(aten.matmul.default, self._arranged(Laid(right.node, turned)), other)
        return Laid(made, Axes.of(value(made).shape).permuted(turn))


def _alike(one: Laid, other: Laid) -> bool:
    return one.axes == other.axes and value(one.node).shape == value(other.node).shape


def lay_out(module: fx.GraphModule, most: int = 8) -> None:
    """Write the graph with as few rearrangements as its operators need."""
    Layout(module, most).write()
