"""Graphs of PyTorch operators: written down by torch.export, made free of side effects, extended node by node.

A graph takes and gives tensors in a row; weights are its `get_attr` nodes; every node knows the shape of its value.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from kinelite.train.step import task_logits

aten: Any = torch.ops.aten
Node = Any
"""A `torch.fx.Node` whose arguments are looked into: their declared type allows anything."""
CHECKS = (aten._assert_tensor_metadata.default, aten._assert_scalar.default, aten._assert_async.msg)
"""Nodes that compute nothing."""
SAME = (
    *(aten.alias.default, aten.detach.default, aten.lift_fresh_copy.default, aten.contiguous.default),
    *(aten.clone.default, aten.dropout.default),
)
"""Nodes whose value is their input, once nothing is written in place and nothing trains."""


class Flat(nn.Module):
    """A model whose output is a tuple: the logits of each task, in the order of the tasks, or a tuple of its own."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Logits ``[b, k]`` of each task."""
        made = self.model(*inputs)
        return made if isinstance(made, tuple) else tuple(task_logits(made))


def write_down(model: nn.Module, inputs: Sequence[Tensor]) -> fx.GraphModule:
    """The graph of a model in evaluation mode for inputs of these very shapes."""
    with torch.no_grad():
        program = torch.export.export(Flat(model), tuple(inputs))
    if _writes_unclearly(program.graph):
        program = program.run_decompositions({})
    module: Any = program.module(check_guards=False)
    graph = fx.Graph()
    made: dict[fx.Node, fx.Node] = {}
    for node in module.graph.nodes:
        if node.op == "call_module" or node.target in CHECKS:
            continue
        made[node] = graph.node_copy(node, lambda n: made[n])
        made[node].meta = {}
    plain = fx.GraphModule(module, graph)
    mode, waiting = FakeTensorMode(), iter(inputs)
    for node in plain.graph.nodes:
        if node.op == "placeholder":
            node.meta["val"] = mode.from_tensor(next(waiting))
        elif node.op == "get_attr":
            # Models on a CPU keep channels last; a graph of views needs numbers in the order of their axes.
            weight = attribute(plain, node).detach().contiguous()
            owner, _, last = str(node.target).rpartition(".")
            module_of = plain.get_submodule(owner)
            delattr(module_of, last)
            module_of.register_buffer(last, weight)
            node.meta["val"] = mode.from_tensor(weight)
    _without_side_effects(plain)
    shapes(plain)
    return plain


def shapes(module: fx.GraphModule) -> None:
    """Give every node without one its value's shape."""
    for node in module.graph.nodes:
        if node.op == "call_function" and "val" not in node.meta:
            node.meta["val"] = shape_of(node)


def attribute(module: fx.GraphModule, node: fx.Node) -> Tensor:
    """The weight of a `get_attr` node."""
    value: Any = module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    return value


def value(node: fx.Node) -> Any:
    """What is known of a node's value without computing it: a tensor without numbers, or a tuple of them."""
    return node.meta["val"]


def constant(module: fx.GraphModule, tensor: Tensor, place: fx.Node | fx.Graph) -> fx.Node:
    """A new weight, as a node in front of another or at the end of a graph that is being written."""
    number = module.__dict__.setdefault("_kept", 0)
    module.__dict__["_kept"] += 1
    name = f"kept_{number}"
    module.register_buffer(name, tensor.detach().contiguous())
    if isinstance(place, fx.Graph):
        node = place.get_attr(name)
    else:
        with module.graph.inserting_before(place):
            node = module.graph.get_attr(name)
    node.meta["val"] = _mode_of(module).from_tensor(tensor.detach())
    return node


def call(before: fx.Node, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
    """A new node in front of another."""
    with before.graph.inserting_before(before):
        node = before.graph.call_function(target, args, kwargs)
    node.meta["val"] = shape_of(node)
    return node


def in_place_of(module: fx.GraphModule, node: fx.Node, act: Callable[..., Any]) -> None:
    """Put the operators that ``act`` calls, on what the node is given, where the node is."""
    flat, shape = tree_flatten((node.args, node.kwargs))
    inputs = [a for a in flat if isinstance(a, fx.Node)]

    def given(*tensors: Tensor) -> Any:
        waiting = iter(tensors)
        args, kwargs = tree_unflatten([next(waiting) if isinstance(a, fx.Node) else a for a in flat], shape)
        return act(*args, **kwargs)

    with _mode_of(module), torch.no_grad():
        trace = make_fx(given, pre_dispatch=True, tracing_mode="fake", _allow_non_fake_inputs=True)
        small = trace(*map(value, inputs))
    waiting = iter(inputs)
    made: dict[fx.Node, fx.Node] = {}
    result: Any = None
    for part in small.graph.nodes:
        if part.op == "placeholder":
            made[part] = next(waiting)
        elif part.op == "get_attr":
            made[part] = constant(module, attribute(small, part), node)
        elif part.op == "output":
            result = tree_map(lambda n: made[n] if isinstance(n, fx.Node) else n, part.args[0])
        else:
            with module.graph.inserting_before(node):
                made[part] = module.graph.node_copy(part, lambda n: made[n])
            made[part].meta = {"val": shape_of(made[part])}
    if isinstance(result, fx.Node):
        replace(node, result)
        return
    for user in list(node.users):
        assert user.target is operator.getitem, "only parts of several results are used"
        replace(user, result[user.args[1]])
    module.graph.erase_node(node)


def replace(node: fx.Node, other: fx.Node) -> None:
    """Let everyone use another node in place of this one, which goes."""
    node.replace_all_uses_with(other)
    node.graph.erase_node(node)


def tidy(module: fx.GraphModule) -> None:
    """Leave out what nobody uses, weights included."""
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    used = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    for name in [*dict(module.named_buffers()), *dict(module.named_parameters())]:
        if name not in used:
            owner, _, last = name.rpartition(".")
            delattr(module.get_submodule(owner), last)
    module.graph.lint()
    module.recompile()


def shape_of(node: fx.Node) -> Any:
    """What is known of a new node's value, from what is known of its operands."""
    args, kwargs = tree_map(lambda n: value(n) if isinstance(n, fx.Node) else n, (node.args, node.kwargs))
    with _mode_of(node.graph.owning_module), torch.no_grad():
        return node.target(*args, **kwargs)  # type: ignore[operator]


def _mode_of(module: Any) -> Any:
    return next(value(node) for node in module.graph.nodes if node.op == "placeholder").fake_mode


def _written(node: fx.Node) -> fx.Node | None:
    """The node whose value an in-place operator overwrites."""
    schema = getattr(node.target, "_schema", None)
    if node.op != "call_function" or schema is None or not schema.is_mutable:
        return None
    return node.args[0] if isinstance(node.args[0], fx.Node) else None


def _bases(nodes: Iterable[fx.Node]) -> dict[fx.Node, fx.Node]:
    """Node -> the node whose memory its value is, or may be, part of."""
    base: dict[fx.Node, fx.Node] = {}
    for node in nodes:
        schema = getattr(node.target, "_schema", None)
        first = node.args[0] if node.args else None
        shares = schema is not None and bool(schema.returns) and schema.returns[0].alias_info is not None
        base[node] = base[first] if shares and isinstance(first, fx.Node) else node
    return base


def _writes_unclearly(graph: fx.Graph) -> bool:
    """Whether something that shares memory with what is overwritten is still used afterwards."""
    order = {node: place for place, node in enumerate(graph.nodes)}
    base = _bases(graph.nodes)
    for node in graph.nodes:
        target = _written(node)
        if target is None:
            continue
        if str(node.target).split(".")[1] == "copy_":
            return True
        relatives = [n for n in order if base[n] is base[target] and order[n] < order[node]]
        if any(order[user] > order[node] for n in relatives if n is not target for user in n.users):
            return True
    return False


def _without_side_effects(module: fx.GraphModule) -> None:
    """Operators that overwrite as those that do not; nodes that only pass something on go."""
    order = {node: place for place, node in enumerate(module.graph.nodes)}
    for node in module.graph.nodes:
        target = _written(node)
        if target is not None:
            packet, overload = str(node.target).split(".")[1:]
            later = [user for user in target.users if order[user] > order[node]]
            node.target = getattr(getattr(aten, packet.removesuffix("_")), overload)
            for user in later:
                user.replace_input_with(target, node)
    # Only now: a copy that was overwritten must not have become the original.
    for node in list(module.graph.nodes):
        if node.target in SAME:
            replace(node, node.args[0])
    tidy(module)
