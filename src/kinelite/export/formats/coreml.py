"""Core ML packages, converted by coremltools. They run on Apple's systems; elsewhere their structure is checked."""
# The extra is not installed everywhere that types are checked.
# pyright: reportMissingImports=false

from __future__ import annotations

import gc
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinelite.export import Gap, Inputs, Run, damaged, lacking, names
from kinelite.export.facts import KEY, Facts
from kinelite.export.quiet import quietly

if TYPE_CHECKING:
    from torch import Tensor, fx

SUFFIX = ".mlpackage"
PRECISIONS = ("fp32", "fp16", "int8")
AXES = 5
"""Core ML's tensors have five dimensions at most."""


def missing() -> str | None:
    """Which of the extra's libraries are not installed."""
    return lacking("coreml", ("coremltools",))


def write(
    graph: fx.GraphModule, inputs: Inputs, path: Path, facts: str, precision: str, clips: Sequence[Inputs]
) -> None:
    """A package, a folder. int8: weights per channel; activations stay fp16, as coremltools ranges need a Mac."""
    import torch

    with quietly():
        import coremltools as ct

        with torch.no_grad():
            program = _plainer(torch.export.export(graph, inputs).run_decompositions({}))
            given, made = names(inputs, len(graph(*inputs)))
        passes = ct.PassPipeline()
        # Tables of window biases are read by rows: what is read, once per block, is many times as large.
        passes.set_options("common::const_elimination", {"skip_const_by_size": "100000"})
        kind = ct.precision.FLOAT32 if precision == "fp32" else ct.precision.FLOAT16
        try:
            model: Any = ct.convert(
                program,
                convert_to="mlprogram",
                inputs=[ct.TensorType(name=n, shape=tuple(x.shape)) for n, x in zip(given, inputs, strict=True)],
                outputs=[ct.TensorType(name=name) for name in made],
                compute_precision=kind,
                minimum_deployment_target=ct.target.iOS16,
                skip_model_load=True,
                pass_pipeline=passes,
            )
        except (NotImplementedError, ValueError, RuntimeError) as error:
            raise Gap(f"coremltools: {' '.join(str(error).split())[:300]}") from error
        if precision == "int8":
            from coremltools.optimize import coreml

            weights = coreml.OpLinearQuantizerConfig(mode="linear_symmetric")
            model = coreml.linear_quantize_weights(model, coreml.OptimizationConfig(global_config=weights))
        model.user_defined_metadata[KEY] = facts
        if path.exists():
            shutil.rmtree(path)
        model.save(str(path))
        # A temporary folder goes with it, which would be warned of later.
        del model
        gc.collect()


def read_facts(path: Path) -> str:
    """The header in the model's own metadata."""
    return str(_model(path).user_defined_metadata.get(KEY, ""))


def check(path: Path, facts: Facts) -> None:
    """Compare what a package says that it takes and gives with its header. Raises UsageError."""
    described = _model(path).get_spec().description
    size = facts.spec.size
    video = (facts.batch, 3, size, size) if facts.state else (facts.batch, 3, facts.spec.frames, size, size)
    taken = tuple(described.input[0].type.multiArrayType.shape)
    given = len(described.output) - len(facts.state)
    if taken != video or given != len(facts.tasks):
        raise damaged(path, f"it takes {taken} and gives {given} outputs, not {video} and {len(facts.tasks)}")


def open(path: Path, threads: int | None = None) -> Run:
    """The package in Core ML. Raises `Gap` on any other system than Apple's."""
    if platform.system() != "Darwin":
        raise Gap("Core ML runs on macOS and iOS only")
    import torch

    model = _model(path)
    described = model.get_spec().description
    given, made = ([entry.name for entry in side] for side in (described.input, described.output))

    def run(*inputs: Tensor) -> list[Tensor]:
        found = model.predict({name: tensor.numpy() for name, tensor in zip(given, inputs, strict=True)})
        return [torch.from_numpy(found[name]) for name in made]

    return run


def _plainer(program: Any) -> Any:
    """What PyTorch writes and coremltools does not read: nodes that only pass a tensor on, and the stride of pooling
    left out where it is the kernel."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if str(node.target) == "aten.alias.default":
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
        elif str(node.target) == "aten.max_pool2d.default" and len(node.args) == 2:
            node.args = (*node.args, node.args[1])
    return program


def _model(path: Path) -> Any:
    with quietly():
        import coremltools as ct

        try:
            return ct.models.MLModel(str(path), skip_model_load=platform.system() != "Darwin")
        except Exception as error:  # of any kind, from a library in another language
            raise damaged(path, " ".join(str(error).split())[:200]) from error
