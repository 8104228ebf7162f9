"""ExecuTorch files: XNNPACK computes what it can, portable kernels the rest. The successor of PyTorch Mobile."""
# The extra is not installed everywhere that types are checked.
# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinelite.errors import RunError
from kinelite.export import Gap, Inputs, Run, damaged, lacking
from kinelite.export.facts import KEY
from kinelite.export.quiet import quietly

if TYPE_CHECKING:
    from torch import Tensor, fx

SUFFIX = ".pte"
PRECISIONS = ("fp32", "fp16", "int8")
AXES = 6
"""XNNPACK's tensors have six dimensions at most."""


def missing() -> str | None:
    """Which of the extra's libraries are not installed."""
    return lacking("executorch", ("executorch", "torchao"))


def write(
    graph: fx.GraphModule, inputs: Inputs, path: Path, facts: str, precision: str, clips: Sequence[Inputs]
) -> None:
    """One file; its header is what its method 'kinelite' returns. int8: XNNPACK's quantiser, ranges from ``clips``."""
    import torch

    with quietly(), torch.no_grad():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

        from kinelite.export.half import halved, in_single
        from kinelite.export.points import points_as_vectors

        if precision == "fp16":
            # XNNPACK gives them in fp16 with their axes in another order (1.5.1).
            points_as_vectors(graph)
            halved(graph)
            # Its own fp16 kernel gives noise from 256 channels on (1.5.1; docs/log.md).
            in_single(graph, (torch.ops.aten.layer_norm.default,))
        if precision == "int8":
            graph = _quantised(graph, inputs, clips)
        program = torch.export.export(graph, inputs)
        edge = to_edge_transform_and_lower(
            program,
            partitioner=[XnnpackPartitioner(_configs(precision))],
            constant_methods={KEY: facts},
            compile_config=EdgeCompileConfig(_check_ir_validity=False),
        )
        try:
            written = edge.to_executorch()
        except RuntimeError as error:
            if "out variant" not in str(error).lower():
                raise
            raise Gap(f"ExecuTorch has no kernel: {error}") from error
    with path.open("wb") as file:
        written.write_to_file(file)


def read_facts(path: Path) -> str:
    """What the file's method 'kinelite' returns."""
    program = _program(path)
    if KEY not in program.method_names:
        return ""
    try:
        return str(program.load_method(KEY).execute([])[0])
    except RuntimeError as error:
        raise damaged(path, str(error).splitlines()[0]) from error


def open(path: Path, threads: int | None = None) -> Run:
    """The file's method 'forward'."""
    from executorch.extension.pybindings import portable_lib

    if threads:
        portable_lib._unsafe_reset_threadpool(threads)
    program = _program(path)
    try:
        method = program.load_method("forward")
    except RuntimeError as error:
        raise Gap(f"ExecuTorch cannot load it: {error}") from error

    def run(*inputs: Tensor) -> Sequence[Tensor]:
        try:
            return method.execute([tensor.contiguous() for tensor in inputs])
        except RuntimeError as error:
            raise RunError(f"ExecuTorch cannot run {path}: {str(error).splitlines()[0]}") from error

    return run


def _program(path: Path) -> Any:
    with quietly():
        from executorch.runtime import Runtime

        try:
            return Runtime.get().load_program(path)
        except RuntimeError as error:
            raise damaged(path, str(error).splitlines()[0]) from error


def _quantised(graph: fx.GraphModule, inputs: Inputs, clips: Sequence[Inputs]) -> Any:
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    plain = torch.export.export(graph, inputs).module(check_guards=False)
    aten = torch.ops.aten
    # It would also take these; the residual stream of a transformer has too wide a range for that.
    left = (aten.add.Tensor, aten.mul.Tensor, aten.cat.default, aten.adaptive_avg_pool2d.default)
    quantiser = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    # Asked of every node of a pattern: a convolution's weight and the relu behind it, too.
    quantiser.set_filter_function(lambda node: node.target not in left)
    watched = prepare_pt2e(plain, quantiser)
    for clip in clips:
        watched(*clip)
    converted = convert_pt2e(watched)
    _drop_unused(converted)
    return converted


def _configs(precision: str) -> list[Any] | None:
    """What XNNPACK takes; None for everything. In int8 it fuses a pad with the rounding on both sides of it, and then
    refuses it where the two differ."""
    from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
    from executorch.backends.xnnpack.partition.config.generic_node_configs import ConstantPadConfig

    return [c for c in ALL_PARTITIONER_CONFIGS if c is not ConstantPadConfig] if precision == "int8" else None


def _drop_unused(graph: Any) -> None:
    """The weights that int8 ones stand for now: nothing reads them, and they would be written all the same."""
    read = {node.target for node in graph.graph.nodes if node.op == "get_attr"}
    for name, _ in [*graph.named_parameters(), *graph.named_buffers()]:
        if name not in read:
            owner, _, last = name.rpartition(".")
            delattr(graph.get_submodule(owner), last)
