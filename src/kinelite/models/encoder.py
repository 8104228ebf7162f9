"""Any timm vision transformer as the spatial encoder, and image weights turned into its weights.

A tubelet of several frames is a patch embedding over all their channels, so timm's own model is used unmodified, with
``3 * tubelet`` input channels: a Conv3d with kernel = stride = ``(tubelet, p, p)`` is the Conv2d over stacked frames.
"""

from __future__ import annotations

import contextlib
import math
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import timm
import torch
from jaxtyping import Float
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.layers.pos_embed_rel import resize_rel_pos_bias_table
from torch import Tensor, nn

from kinelite.errors import SetupError, UsageError, unknown
from kinelite.models.checkpoints.hub import mend
from kinelite.models.pooling import Pool, set_pool
from kinelite.models.sizes import check_patches

MAX_DEFAULT_SIZE = 224
"""Encoders made for larger images are built for this size in pixels unless a size is asked for."""


@dataclass(frozen=True)
class EncoderPlan:
    """What a spatial encoder is made of."""

    name: str
    """timm's name, with or without the tag of its weights."""
    tubelet: int
    """Frames per tubelet."""
    size: int
    """Height and width in pixels."""
    drop_path: float = 0.0
    inflate: Literal["central", "average"] = "central"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Changes to timm's model: patch_size, embed_dim, depth, num_heads, weight_init."""
    activation: str | None = None
    """timm's name of an activation other than the encoder's own; image weights fit all the same."""
    pool: Pool | None = None
    """What is used of the tokens; None: the encoder's own pooling."""


def encoder_config(name: str) -> Any:
    """timm's pretrained configuration of an encoder: mean, std, input size, licence. Raises UsageError if unknown."""
    architecture = name.partition(".")[0]
    config, tags = None, []
    if timm.is_model(architecture):
        with contextlib.suppress(RuntimeError):
            config = timm.get_pretrained_cfg(name)
        tags = timm.list_pretrained(f"{architecture}.*")
    if config is None:
        if not tags:  # not a model; or a name of old, which timm would build, but describes only under the new one
            raise unknown("encoder", name, timm.list_models(), 'python -c "import timm; print(timm.list_models())"')
        show = f"python -c \"import timm; print(timm.list_pretrained('{architecture}.*'))\""
        raise unknown("weights of encoder", name, tags, show)
    return config


def default_size(name: str) -> int:
    """Height and width in pixels that an encoder is built for when none is asked for."""
    return min(encoder_config(name).input_size[-1], MAX_DEFAULT_SIZE)


def build_encoder(plan: EncoderPlan) -> nn.Module:
    """timm's model without classifier, for ``3 * tubelet`` stacked channels, with random weights.

    Raises:
        UsageError: not a timm vision transformer with a plain patch embedding, or a size its patches do not divide.
    """
    config = encoder_config(plan.name)
    try:
        encoder = _timm_model(plan, in_chans=3 * plan.tubelet, drop_path_rate=plan.drop_path)
        patches = encoder.get_submodule(config.first_conv)
    except (TypeError, AttributeError) as error:
        raise _not_a_transformer(plan.name) from error
    if not isinstance(patches, nn.Conv2d) or patches.kernel_size != patches.stride:
        raise _not_a_transformer(plan.name)
    check_patches(f"'{plan.name}'", plan.size, patches.kernel_size[0])
    set_pool(encoder, plan.name, plan.pool)
    return encoder


def block_shape(encoder: Any) -> tuple[int, int, int]:
    """Width, heads and MLP width for the temporal transformer: the encoder's own wherever it has plain blocks."""
    width = int(getattr(encoder, "head_hidden_size", None) or encoder.num_features)
    block = next(iter(getattr(encoder, "blocks", ())), None)
    heads = getattr(getattr(block, "attn", None), "num_heads", 0) or max(width // 64, 1)
    wide, narrow = (getattr(getattr(block, "mlp", None), layer, None) for layer in ("fc1", "fc2"))
    mlp_width = 4 * width
    if isinstance(wide, nn.Linear) and isinstance(narrow, nn.Linear) and wide.out_features == narrow.in_features:
        mlp_width = wide.out_features
    return width, heads if width % heads == 0 else 1, mlp_width


def inflate(
    weight: Float[Tensor, "d c p q"], tubelet: int, mode: Literal["central", "average"]
) -> Float[Tensor, "d c_tubelet p q"]:
    """Patch kernel of an image model ``[d, c, p, p]`` for tubelets: ``[d, c * tubelet, p, p]``, time within channel.

    central: the kernel at frame ``tubelet // 2``, zeros elsewhere. average: the kernel over ``tubelet`` in every frame.
    On a clip that stands still both give what the image model gives (ViViT, 2103.15691, section 3.4).
    """
    if mode == "average":
        video = weight.unsqueeze(2).repeat(1, 1, tubelet, 1, 1) / tubelet
    else:
        video = weight.new_zeros(weight.shape[0], weight.shape[1], tubelet, *weight.shape[2:])
        video[:, :, tubelet // 2] = weight
    return video.flatten(1, 2)


def without_classifier(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Weights of timm's model ``name``, under timm's names, without its classifier; floats as fp32."""
    words = encoder_config(name).classifier or ()
    dropped = tuple(f"{word}." for word in ((words,) if isinstance(words, str) else words))
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items() if not k.startswith(dropped)}


def from_image(
    state: Mapping[str, Tensor], encoder: nn.Module, plan: EncoderPlan
) -> tuple[dict[str, Tensor], list[str]]:
    """Image weights with timm names as weights of ``encoder``, and notes on what was changed.

    Classifier dropped, floats to fp32, position embedding resampled to the size by timm, patch kernel inflated. What
    does not fit is passed on as it is, for the caller to compare.
    """
    notes: list[str] = []
    state, kernel = without_classifier(state, plan.name), f"{encoder_config(plan.name).first_conv}.weight"
    target = encoder.state_dict()
    if kernel in state and state[kernel].shape[2:] != target[kernel].shape[2:]:
        return state, notes
    state = _as_timm_loads_it(state, plan, notes)
    if plan.pool and any(name.startswith("attn_pool.") for name in state):
        state = {name: tensor for name, tensor in state.items() if not name.startswith("attn_pool.")}
        notes.append(f"attention pooling left out for net.pool {plan.pool}")
    if kernel in state and state[kernel].ndim == 4 and state[kernel].shape[1] * plan.tubelet == target[kernel].shape[1]:
        state[kernel] = inflate(state[kernel], plan.tubelet, plan.inflate)
        if plan.tubelet > 1:
            notes.append(f"patch kernel inflated to {plan.tubelet} frames ({plan.inflate})")
    return state, notes


@torch.no_grad()
def start_with_sine_positions(encoder: nn.Module) -> None:
    """Fill the learned positions of a timm ViT's patches, ``[1, 1 + rows * columns, d]``, with 2-D sines and cosines.

    Patches count row by row, as timm does. A quarter of the channels each: sine and cosine of the row, then of the
    column, at rates from 1 down to almost 1/10000 ("Better plain ViT baselines for ImageNet-1k", 2205.01580). The
    class token's position, and channels beyond a multiple of four, stay as they are.
    """
    positions: Any = encoder.get_parameter("pos_embed")
    patches: Any = encoder.get_submodule("patch_embed")
    rows, columns = patches.grid_size
    quarter = positions.shape[-1] // 4
    rates = 10_000 ** -(torch.arange(quarter, device=positions.device) / quarter)
    y = torch.arange(rows, device=positions.device).repeat_interleave(columns)[:, None] * rates
    x = torch.arange(columns, device=positions.device).repeat(rows)[:, None] * rates
    waves = torch.cat([y.sin(), y.cos(), x.sin(), x.cos()], dim=1)
    positions[0, -rows * columns :, : waves.shape[1]] = waves.to(positions)


def resize_spatial_positions(state: dict[str, Tensor], encoder: Any, notes: list[str]) -> None:
    """Positions of a whole model's encoder for another number of patches, in place, as timm resamples them.

    Learned ones, and BEiT's tables by relative position. The grid that they were made for must be square; anything else
    is left for the comparison of shapes.
    """
    _resize_tables(state, encoder, notes)
    name, own = "encoder.pos_embed", encoder.state_dict().get("pos_embed")
    given = state.get(name)
    if given is None or own is None or given.ndim != 3 or given.shape == own.shape or given.shape[2] != own.shape[2]:
        return
    rows, columns = encoder.patch_embed.grid_size
    others = own.shape[1] - rows * columns
    patches = given.shape[1] - others
    if patches > 0 and math.isqrt(patches) ** 2 == patches:
        state[name] = resample_abs_pos_embed(given, [rows, columns], num_prefix_tokens=others)
        notes.append(f"spatial positions resampled from {patches} to {rows * columns} patches")


def _resize_tables(state: dict[str, Tensor], encoder: Any, notes: list[str]) -> None:
    changed = 0
    for name, own in encoder.state_dict().items():
        given = state.get(f"encoder.{name}")
        if not name.endswith(".relative_position_bias_table") or given is None or given.shape == own.shape:
            continue
        window = encoder.get_submodule(name.rpartition(".")[0]).window_size
        # Three entries beside those of pairs of patches are of the class token.
        if given.ndim != 2 or given.shape[1] != own.shape[1] or math.isqrt(len(given) - 3) ** 2 != len(given) - 3:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, on how timm interpolates
            state[f"encoder.{name}"] = resize_rel_pos_bias_table(given, tuple(window), tuple(own.shape))
        changed += 1
    if changed:
        notes.append(f"{changed} tables of relative positions resampled")


def hub_weights(plan: EncoderPlan) -> dict[str, Tensor]:
    """Image weights of an encoder as timm publishes them, from its cache or over the network.

    Raises:
        UsageError: timm publishes none for this encoder, or none that fit the variant's changes to it.
        SetupError: they could not be fetched.
    """
    name, config = plan.name, encoder_config(plan.name)
    if plan.overrides or not (config.hf_hub_id or config.url):
        changed = f" with {', '.join(f'{k} {v}' for k, v in plan.overrides.items())}" if plan.overrides else ""
        raise UsageError(
            f"timm publishes no weights of '{name}'{changed}. Pass a safetensors file, or choose another encoder."
        )
    return timm_weights(name)


def timm_weights(name: str) -> dict[str, Tensor]:
    """Image weights as timm publishes them, without classifier, from its cache or over the network.

    Raises SetupError when they could not be fetched.
    """
    config = encoder_config(name)
    try:
        if config.hf_hub_id:
            mend(config.hf_hub_id)
        return timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    except Exception as error:  # whatever fails on the way to the hub, the remedy is the same
        where = f"https://huggingface.co/{config.hf_hub_id}/resolve/main/model.safetensors"
        raise SetupError(
            f"Could not fetch the weights of '{name}' ({type(error).__name__}). On a machine with network download "
            f"{where if config.hf_hub_id else config.url} and pass that file: --pretrained model.safetensors"
        ) from error


def _as_timm_loads_it(state: dict[str, Tensor], plan: EncoderPlan, notes: list[str]) -> dict[str, Tensor]:
    """The state after timm's own conversion of official names, position embedding and patch layout."""
    with torch.device("meta"):
        image = _timm_model(plan)
    convert = getattr(sys.modules[type(image).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return state
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, on how timm interpolates the tables of BEiT
            converted = dict(convert(dict(state), image))
    except Exception:  # weights of another model; the caller's comparison says what differs
        return state
    for key, value in converted.items():
        if key in state and state[key].shape != value.shape:
            notes.append(f"{key} resampled from {_shape(state[key])} to {_shape(value)}")
    return converted


def _timm_model(plan: EncoderPlan, **more: Any) -> Any:
    if plan.activation:
        more["act_layer"] = plan.activation
    return timm.create_model(plan.name, num_classes=0, img_size=plan.size, **plan.overrides, **more)


def _not_a_transformer(name: str) -> UsageError:
    return UsageError(
        f"'{name}' is not a vision transformer with a plain patch embedding, so it cannot be the spatial encoder. "
        "Examples: deit_small_patch16_224, vit_small_patch14_dinov2, eva02_tiny_patch14_224."
    )


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape))
