"""ONNX files for ONNX Runtime: one file with weights and header, written by torch.onnx from a torch.export program."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinelite.export import Gap, Inputs, Run, damaged, lacking, names
from kinelite.export.facts import KEY
from kinelite.export.quiet import quietly

if TYPE_CHECKING:
    from torch import Tensor, fx

SUFFIX = ".onnx"
PRECISIONS = ("fp32", "fp16", "int8")
AXES = 8
QUANTISED = ("Conv", "MatMul", "Gemm")
"""Operators that an int8 file computes in int8; the others take and give fp32."""


def missing() -> str | None:
    """Which of the extra's libraries are not installed."""
    return lacking("onnx", ("onnx", "onnxscript", "onnxruntime"))


def write(
    graph: fx.GraphModule, inputs: Inputs, path: Path, facts: str, precision: str, clips: Sequence[Inputs]
) -> None:
    """One file. int8: static, weights per channel, activations per tensor, ranges from ``clips``."""
    import onnx
    import torch

    from kinelite.export.half import halved

    if precision == "fp16":
        halved(graph)
    with quietly(), torch.no_grad():
        program = torch.export.export(graph, inputs)
        given, made = names(inputs, len(graph(*inputs)))
        try:
            written: Any = torch.onnx.export(
                program, input_names=given, output_names=made, verbose=False, external_data=False
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise Gap(f"torch.onnx has no translation: {_reason(error)}") from error
    model = written.model_proto
    if precision == "int8":
        model = _quantised(model, [dict(zip(given, map(_numbers, clip), strict=True)) for clip in clips])
    onnx.helper.set_model_props(model, {KEY: facts})
    onnx.save(model, path)


def read_facts(path: Path) -> str:
    """The header in the file's metadata."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise damaged(path, error) from error
    return next((entry.value for entry in model.metadata_props if entry.key == KEY), "")


def open(path: Path, threads: int | None = None) -> Run:
    """An inference session on the CPU."""
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common public class
        said = str(error).splitlines()[0]
        # The file was read, and its header with it, so what is missing is the runtime's.
        if any(word in said for word in ("NOT_IMPLEMENTED", "INVALID_GRAPH", "Type Error", "Type parameter")):
            raise Gap(f"ONNX Runtime cannot load it: {said}") from error
        raise damaged(path, said) from error

    given = [entry.name for entry in session.get_inputs()]

    def run(*inputs: Tensor) -> list[Tensor]:
        feed = dict(zip(given, map(_numbers, inputs), strict=True))
        return [torch.from_numpy(made) for made in session.run(None, feed)]

    return run


def _numbers(tensor: Tensor) -> Any:
    return tensor.numpy()


def _quantised(model: Any, clips: Sequence[dict[str, Any]]) -> Any:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Clips(CalibrationDataReader):
        def __init__(self) -> None:
            self.waiting = iter(clips)

        def get_next(self) -> dict[str, Any] | None:
            return next(self.waiting, None)

    with tempfile.TemporaryDirectory() as folder, quietly():
        given, made = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, given)
        quantize_static(
            given,
            made,
            Clips(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            per_channel=True,
            # Weights of 7 bits: without VNNI two products of 8 bits overflow the 16 that ONNX Runtime adds them in.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        return onnx.load(made)


def _reason(error: BaseException) -> str:
    """The innermost cause, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).splitlines()), type(error).__name__)
