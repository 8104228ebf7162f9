"""X3D as PyTorchVideo and PySlowFast name it."""

from __future__ import annotations

from torch import nn

from kinelite.models.checkpoints.layout import GREY, Layout, State


def _drop_kernel_axes(model: nn.Module, state: State) -> State:
    """1x1x1 convolutions are matrices here."""
    own = model.state_dict()
    matrices = {k for k, v in state.items() if k in own and own[k].ndim == 2 and v.ndim == 5 and v[0, 0].numel() == 1}
    return {k: v.flatten(1) if k in matrices else v for k, v in state.items()}


PYTORCHVIDEO = Layout(
    name="PyTorchVideo",
    marks=(r"^blocks\.0\.conv\.conv_t\.", r"^blocks\.5\.pool\.pre_conv\."),
    rename=(
        # conv_t holds the convolution over space and conv_xy the one over time: their builder swaps them.
        (r"^blocks\.0\.conv\.conv_t\.", "encoder.stem.space."),
        (r"^blocks\.0\.conv\.conv_xy\.", "encoder.stem.time."),
        (r"^blocks\.0\.norm\.", "encoder.stem.norm."),
        (r"^blocks\.1\.res_blocks\.", "encoder.stages.0."),
        (r"^blocks\.2\.res_blocks\.", "encoder.stages.1."),
        (r"^blocks\.3\.res_blocks\.", "encoder.stages.2."),
        (r"^blocks\.4\.res_blocks\.", "encoder.stages.3."),
        (r"\.branch1_conv\.", ".shortcut."),
        (r"\.branch1_norm\.", ".shortcut_norm."),
        (r"\.branch2\.conv_a\.", ".expand."),
        (r"\.branch2\.norm_a\.", ".expand_norm."),
        (r"\.branch2\.conv_b\.", ".depthwise."),
        (r"\.branch2\.norm_b\.0\.", ".depthwise_norm."),
        (r"\.branch2\.norm_b\.1\.block\.0\.", ".gate.fc1."),
        (r"\.branch2\.norm_b\.1\.block\.2\.", ".gate.fc2."),
        (r"\.branch2\.conv_c\.", ".project."),
        (r"\.branch2\.norm_c\.", ".project_norm."),
        (r"^blocks\.5\.pool\.pre_conv\.", "encoder.neck.expand."),
        (r"^blocks\.5\.pool\.pre_norm\.", "encoder.neck.norm."),
        (r"^blocks\.5\.pool\.post_conv\.", "encoder.neck.project."),
        (r"^blocks\.5\.proj\.", "head."),
    ),
    convert=_drop_kernel_axes,
    spec=GREY,
)

PYSLOWFAST = Layout(
    name="PySlowFast",
    marks=(r"^s1\.pathway0_stem\.conv_xy\.", r"^head\.conv_5\."),
    rename=(
        (r"^s1\.pathway0_stem\.conv_xy\.", "encoder.stem.space."),
        (r"^s1\.pathway0_stem\.conv\.", "encoder.stem.time."),
        (r"^s1\.pathway0_stem\.bn\.", "encoder.stem.norm."),
        (r"^s2\.pathway0_res(\d+)\.", r"encoder.stages.0.\1."),
        (r"^s3\.pathway0_res(\d+)\.", r"encoder.stages.1.\1."),
        (r"^s4\.pathway0_res(\d+)\.", r"encoder.stages.2.\1."),
        (r"^s5\.pathway0_res(\d+)\.", r"encoder.stages.3.\1."),
        (r"\.branch1\.", ".shortcut."),
        (r"\.branch1_bn\.", ".shortcut_norm."),
        (r"\.branch2\.a\.", ".expand."),
        (r"\.branch2\.a_bn\.", ".expand_norm."),
        (r"\.branch2\.b\.", ".depthwise."),
        (r"\.branch2\.b_bn\.", ".depthwise_norm."),
        (r"\.branch2\.se\.", ".gate."),
        (r"\.branch2\.c\.", ".project."),
        (r"\.branch2\.c_bn\.", ".project_norm."),
        (r"^head\.conv_5\.", "encoder.neck.expand."),
        (r"^head\.conv_5_bn\.", "encoder.neck.norm."),
        (r"^head\.lin_5\.", "encoder.neck.project."),
        (r"^head\.projection\.", "head."),
    ),
    convert=_drop_kernel_axes,
    spec=GREY,
)
