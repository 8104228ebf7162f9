"""ViViT as Scenic stores it, and which ViViTs these are not."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinelite.errors import UsageError
from kinelite.models.checkpoints.layout import Layout, State
from kinelite.models.registry import Release
from kinelite.models.temporal.transformer import TemporalTransformer

EPIC = {"noun": 300, "verb": 97}
"""Scenic's one classifier for Epic-Kitchens: first the nouns, then the verbs."""
_UNFACTORISED = (
    "These are weights of the unfactorised ViViT (model 1 of 2103.15691), in which all patches of all frames attend to "
    "each other: {what}. The factorised encoder has another architecture and cannot hold them. Its own weights are "
    "vivit_fe_b and vivit_fe_l with --pretrained k400."
)


def scenic_release(name: str, folder: str, classes: str, **more: Any) -> Release:
    """A checkpoint of Scenic's model zoo; no checksums are published. ``more``: other fields of the release."""
    address = f"https://storage.googleapis.com/scenic-bucket/vivit/{folder}/checkpoint"
    return Release(name, address, classes, "Apache-2.0", **more)


def _from_flax(model: Any, state: State) -> State:
    """Kernels transposed, q, k and v stacked, both classifiers of Epic-Kitchens apart."""
    _check_depth(model, state)
    state = {name.replace("/", "."): tensor for name, tensor in state.items()}
    result = {name: tensor for name, tensor in state.items() if ".attn." not in name and not name.endswith(".kernel")}
    for name in state.keys() - result.keys():
        kernel = state[name]
        block, _, what = name.partition(".attn.")
        if not what:
            result[name.replace(".kernel", ".weight")] = _tubelets(kernel) if kernel.ndim == 5 else kernel.T
        elif what == "out.kernel":
            result[f"{block}.attn.proj.weight"] = kernel.flatten(0, 1).T
        elif what == "out.bias":
            result[f"{block}.attn.proj.bias"] = kernel
        elif what == "query.kernel":
            kernels = [state[f"{block}.attn.{word}.kernel"].flatten(1).T for word in ("query", "key", "value")]
            result[f"{block}.attn.qkv.weight"] = torch.cat(kernels)
        elif what == "query.bias":
            biases = [state[f"{block}.attn.{word}.bias"].flatten() for word in ("query", "key", "value")]
            result[f"{block}.attn.qkv.bias"] = torch.cat(biases)
        elif what not in ("key.kernel", "key.bias", "value.kernel", "value.bias"):
            result[name] = kernel
    _split_classifier(model, result)
    return result


def _tubelets(kernel: Float[Tensor, "t p q c d"]) -> Float[Tensor, "d ct p q"]:
    """Time within channel, as `kinelite.models.encoder` stacks frames."""
    return kernel.permute(4, 3, 0, 1, 2).flatten(1, 2)


def _check_depth(model: Any, state: State) -> None:
    blocks = {name.split(".")[2] for name in state if name.startswith("temporal.blocks.")}
    if not isinstance(model.temporal, TemporalTransformer):
        raise UsageError("This checkpoint has a transformer over time and the model has none: leave net.temporal out.")
    own = len(model.temporal.blocks)
    if blocks and len(blocks) != own:
        raise UsageError(
            f"This checkpoint has {len(blocks)} temporal layers and the model has {own}. "
            f"Build it with --net.temporal-layers {len(blocks)} (NetConfig(temporal_layers={len(blocks)}))."
        )


def _split_classifier(model: Any, state: State) -> None:
    if set(model.head) != set(EPIC) or any(name not in state for name in ("head.weight", "head.bias")):
        return
    if len(state["head.bias"]) == len(state["head.weight"]) == sum(EPIC.values()):
        for kind in ("weight", "bias"):
            parts = state.pop(f"head.{kind}").split(list(EPIC.values()))
            state |= {f"head.{task}.{kind}": part for task, part in zip(EPIC, parts, strict=True)}


def _refuse_transformers(model: nn.Module, state: State) -> State:
    raise UsageError(_UNFACTORISED.format(what="the class of transformers' VivitForVideoClassification"))


def _refuse_scenic(model: nn.Module, state: State) -> State:
    kernel = next(tensor for name, tensor in state.items() if name.endswith("embedding/kernel"))
    if kernel.ndim == 5:
        raise UsageError(_UNFACTORISED.format(what="Scenic's vivit_base_16x2_unfactorized or one like it"))
    raise UsageError(
        "These are weights of an image transformer under Flax's names. timm has them under names that are known here: "
        "--pretrained hub, or a file of a vit_* model of timm."
    )


SCENIC = Layout(
    name="Scenic ViViT",
    marks=(r"(^|/)cls_SpatialTransformer$", r"(^|/)TemporalTransformer/"),
    rename=(
        (r"^(?:optimizer/target/|params/)(?:params/)?", ""),
        (r"^embedding/", "encoder.patch_embed.proj."),
        (r"^cls_SpatialTransformer$", "encoder.cls_token"),
        (r"^cls_TemporalTransformer$", "temporal.cls"),
        (r"^SpatialTransformer/posembed_input/pos_embedding$", "encoder.pos_embed"),
        (r"^TemporalTransformer/posembed_input/pos_embedding$", "temporal.positions"),
        (r"^SpatialTransformer/", "encoder."),
        (r"^TemporalTransformer/", "temporal."),
        (r"\.encoder_norm/", ".norm."),
        (r"\.encoderblock_(\d+)/", r".blocks.\1."),
        # The second numbers are those of Flax before Linen, which counted all layers of a block together.
        (r"\.LayerNorm_0/", ".norm1."),
        (r"\.LayerNorm_[12]/", ".norm2."),
        (r"\.MultiHeadDotProductAttention_[01]/", ".attn."),
        (r"\.MlpBlock_[03]/Dense_0/", ".mlp.fc1."),
        (r"\.MlpBlock_[03]/Dense_1/", ".mlp.fc2."),
        (r"^output_projection/", "head."),
        (r"(norm\d?\.)scale$", r"\1weight"),
    ),
    # What Scenic's train state holds beside the weights.
    drop=(r"^(optimizer|opt_state|model_state|metadata)(/|$)", r"^(global_step|step|rng|accum_train_time)$"),
    convert=_from_flax,
    spec={"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
)

UNFACTORISED = (
    Layout(name="unfactorised ViViT", marks=(r"^vivit\.",), convert=_refuse_transformers),
    Layout(
        name="unfactorised ViViT",
        marks=(r"(^|/)Transformer/encoderblock_0/", r"(^|/)embedding/kernel$"),
        convert=_refuse_scenic,
    ),
)
