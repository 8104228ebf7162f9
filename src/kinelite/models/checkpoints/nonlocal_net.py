"""Names of other projects for the weights of non-local ResNets, and what of theirs is not the same function."""

from __future__ import annotations

from torch import nn

from kinelite.errors import UsageError
from kinelite.models.checkpoints.layout import GREY, Layout, State


def _stages(pattern: str, replacement: str) -> tuple[tuple[str, str], ...]:
    """A rename per stage, because ``res2`` of other projects is ``layer1``: {s} theirs and {layer} ours."""
    return tuple((pattern.format(s=s), replacement.format(layer=f"layer{s - 1}")) for s in (2, 3, 4, 5))


def _without_time(model: nn.Module, state: State) -> State:
    """Kernels of one frame ``[o, i, 1, h, w]`` as ``[o, i, h, w]``; longer ones keep their shape and are told."""
    return {name: kernel.squeeze(2) if kernel.ndim == 5 else kernel for name, kernel in state.items()}


def _from_caffe2(model: nn.Module, state: State) -> State:
    if model.plan.stem_padding:  # type: ignore[union-attr]
        raise UsageError("The Caffe2 networks pool their first layer without padding: load them into nl_r50_caffe2.")
    return _without_time(model, state)


def _refuse_shift(model: nn.Module, state: State) -> State:
    raise UsageError(
        "These weights are of a TSM: it shifts channels in time, and a non-local network without shift cannot stand "
        "in for it. Load TSM without non-local blocks into tsm_r50."
    )


SHIFTED = Layout("TSM with non-local blocks", marks=(r"conv1\.(conv\.)?net\.weight$",), convert=_refuse_shift)

TSM_CODE = Layout(
    "the non-local blocks of temporal-shift-module",
    marks=(r"layer\d\.\d\.nl\.",),
    rename=(
        (r"^module\.", ""),
        (r"^new_fc\.", "head."),
        (r"^base_model\.(layer\d)\.(\d)\.nl\.", r"nonlocal_blocks.\1_\2."),
        (r"^base_model\.", "encoder."),
        (r"(layer\d\.\d)\.block\.", r"\1."),
        (r"\.(g|phi)\.0\.", r".\1."),
        (r"\.W\.0\.", ".out."),
        (r"\.W\.1\.", ".norm."),
    ),
    convert=_without_time,
)

PYSLOWFAST = Layout(
    "PySlowFast",
    marks=(r"^s\d\.pathway0_nonlocal\d\.", r"^s1\.pathway0_stem\."),
    rename=(
        *_stages(r"^s{s}\.pathway0_nonlocal(\d)\.", r"nonlocal_blocks.{layer}_\1."),
        *_stages(r"^s{s}\.pathway0_res(\d)\.", r"encoder.{layer}.\1."),
        (r"^s1\.pathway0_stem\.conv\.", "encoder.conv1."),
        (r"^s1\.pathway0_stem\.bn\.", "encoder.bn1."),
        (r"\.branch1\.", ".downsample.0."),
        (r"\.branch1_bn\.", ".downsample.1."),
        *((rf"\.branch2\.{letter}\.", f".conv{i}.") for i, letter in enumerate("abc", start=1)),
        *((rf"\.branch2\.{letter}_bn\.", f".bn{i}.") for i, letter in enumerate("abc", start=1)),
        (r"^(nonlocal_blocks\..*)\.conv_(theta|phi|g|out)\.", r"\1.\2."),
        (r"^(nonlocal_blocks\..*)\.bn\.", r"\1.norm."),
        (r"^head\.projection\.", "head."),
    ),
    convert=_without_time,
    spec=GREY,
)

CAFFE2 = Layout(
    "video-nonlocal-net (Caffe2)",
    marks=(r"^nonlocal_conv\d_\d_", r"^res_conv1_bn_"),
    rename=(
        *((rf"_{theirs}$", f".{ours}") for theirs, ours in (("riv", "running_var"), ("rm", "running_mean"))),
        (r"_[ws]$", ".weight"),
        (r"_b$", ".bias"),
        (r"^pred\.", "head."),
        (r"^conv1\.", "encoder.conv1."),
        (r"^res_conv1_bn\.", "encoder.bn1."),
        *_stages(r"^nonlocal_conv{s}_(\d)_", r"nonlocal_blocks.{layer}_\1."),
        *_stages(r"^res{s}_(\d)_", r"encoder.{layer}.\1."),
        (r"\.branch1\.", ".downsample.0."),
        (r"\.branch1_bn\.", ".downsample.1."),
        *((rf"\.branch2{letter}\.", f".conv{i}.") for i, letter in enumerate("abc", start=1)),
        *((rf"\.branch2{letter}_bn\.", f".bn{i}.") for i, letter in enumerate("abc", start=1)),
        (r"^(nonlocal_blocks\..*)\.bn\.", r"\1.norm."),
    ),
    # What training left behind.
    drop=(r"_momentum$", r"^lr$", r"^model_iter$"),
    convert=_from_caffe2,
    spec=GREY,
)

LAYOUTS = (SHIFTED, TSM_CODE, PYSLOWFAST, CAFFE2)
