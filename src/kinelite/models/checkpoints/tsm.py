"""Published TSM checkpoints: the authors' two CNNs, their online demo, and MMAction2."""

from __future__ import annotations

from kinelite.models.checkpoints.layout import Layout

Renames = tuple[tuple[str, str], ...]

_STAGES = (1, 2, 3, 4, 3, 3, 1)
"""Blocks of each stage of MobileNetV2."""
_PLAIN = {0: "conv_dw", 1: "bn1", 3: "conv_pw", 4: "bn2"}
"""Position in the authors' first block -> timm's name."""
_INVERTED = {0: "conv_pw", 1: "bn1", 3: "conv_dw", 4: "bn2", 6: "conv_pwl", 7: "bn3"}
"""Position in all other blocks -> timm's name."""


def _mobilenet(prefix: str) -> Renames:
    """``PREFIXfeatures.N.conv.K.`` to timm's names, without ``encoder.``: stem, blocks in a row, last."""
    renames = [(rf"^{prefix}features\.0\.0\.", "encoder.conv_stem."), (rf"^{prefix}features\.0\.1\.", "encoder.bn1.")]
    number = 1
    for stage, blocks in enumerate(_STAGES):
        for block in range(blocks):
            for position, name in (_INVERTED if stage else _PLAIN).items():
                old = rf"^{prefix}features\.{number}\.conv\.{position}(\.net)?\."
                renames.append((old, f"encoder.blocks.{stage}.{block}.{name}."))
            number += 1
    last = rf"^{prefix}features\.{number}"
    return (*renames, (rf"{last}\.0\.", "encoder.conv_head."), (rf"{last}\.1\.", "encoder.bn2."))


def _mmaction_mobilenet() -> Renames:
    """``layerS.B.conv.K.conv`` and ``.bn``: two or three pairs per block, numbered from 0."""
    renames = [
        (r"^backbone\.conv1\.conv\.", "encoder.conv_stem."),
        (r"^backbone\.conv1\.bn\.", "encoder.bn1."),
        (r"^backbone\.conv2\.conv\.", "encoder.conv_head."),
        (r"^backbone\.conv2\.bn\.", "encoder.bn2."),
    ]
    for stage in range(len(_STAGES)):
        convolutions = ("conv_pw", "conv_dw", "conv_pwl") if stage else ("conv_dw", "conv_pw")
        for position, name in enumerate(convolutions):
            old = rf"^backbone\.layer{stage + 1}\.(\d+)\.conv\.{position}\.(?:net\.)?"
            new = rf"encoder.blocks.{stage}.\1."
            renames += [(rf"{old}conv\.", f"{new}{name}."), (rf"{old}bn\.", f"{new}bn{position + 1}.")]
    return tuple(renames)


_AUTHORS_HEAD = (r"^(module\.)?new_fc\.", "head.")
_MMACTION_HEAD = (r"^cls_head\.fc_cls\.", "head.")

RESNET = Layout(
    name="mit-han-lab/temporal-shift-module",
    marks=(r"base_model\.layer\d\.",),
    rename=((r"^(module\.)?base_model\.", "encoder."), (r"\.conv1\.net\.", ".conv1."), _AUTHORS_HEAD),
)
MOBILENET = Layout(
    name="mit-han-lab/temporal-shift-module",
    marks=(r"base_model\.features\.\d+\.",),
    rename=(*_mobilenet(r"(?:module\.)?base_model\."), _AUTHORS_HEAD),
)
ONLINE = Layout(
    name="the online demo of mit-han-lab/temporal-shift-module",
    marks=(r"^features\.18\.",),
    rename=(*_mobilenet(""), (r"^classifier\.", "head.")),
)
MMACTION = (
    Layout(
        name="MMAction2",
        marks=(r"^backbone\.layer\d\.\d+\.conv1\.",),
        rename=(
            (r"^backbone\.", "encoder."),
            (r"\.downsample\.conv\.", ".downsample.0."),
            (r"\.downsample\.bn\.", ".downsample.1."),
            (r"conv(\d)\.conv\.(net\.)?", r"conv\1."),
            (r"conv(\d)\.bn\.", r"bn\1."),
            _MMACTION_HEAD,
        ),
    ),
    Layout(
        name="MMAction2",
        marks=(r"^backbone\.layer\d\.\d+\.conv\.",),
        rename=(*_mmaction_mobilenet(), _MMACTION_HEAD),
    ),
)
