"""ViViT with the values of *Optimizing ViViT Training* (arXiv 2306.04822), Table 7, by the set in ``data``:
conventional and SFA, and both for cards of 12 and 24 GB."""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import Any

from kinelite.config import ClipConfig, FeaturesConfig, MemoryConfig, NetConfig, OptimConfig, Stage, TrainConfig
from kinelite.errors import UsageError
from kinelite.recipes.basic import FROZEN, SHORT_FRAMES
from kinelite.recipes.cards import CARDS, SIZES, Card, clips_that_fit, size_of, step_gib
from kinelite.recipes.table_7 import BATCH, MOMENTUM, WARMUP_EPOCHS, column

LARGEST_MICRO_BATCH = 32
"""Clips at a time where memory would allow more: evaluations read as many, each of up to 128 frames."""


def vivit(**fields: Any) -> TrainConfig:
    """ViViT-B, L, H or g end to end, with the values of Table 7 for kinetics400, kinetics600, moments, epic100, ssv2 or
    something_else: SGD, batch 128, learning rate, epochs, augmentation and regularisation of the set.

    Example: kinelite train vivit --data ssv2:/data/ssv2 --model vivit_fe_l --pretrained hub --frames 32

    Frames are 32 unless ``--frames`` says more (the paper: 32 to 128); each group that Python gives (``optim=``) takes
    the place of the table's, but for what is left open in ``clips`` and ``net``.

    Cost: 1.

    Published: ViViT-L 82.6 % (Kinetics-400), 83.3 (Kinetics-600), 64.5 (SSv2), 53.1 (Something-Else), 43.5 (EPIC
    actions); ViViT-H 84.2, 84.2, and 38.2 on Moments in Time (Tables 5 and 6).
    """
    return _vivit("vivit", fields, (Stage("end-to-end"),))


def vivit_sfa(**fields: Any) -> TrainConfig:
    """As ``vivit`` by SFA: 8 frames end to end for all epochs, then all frames for all epochs again with the spatial
    transformer frozen and an adapter, both with the values of Table 7.

    Example: kinelite train vivit_sfa --data kinetics400:/data/k400 --model vivit_fe_b --pretrained hub --frames 32

    The paper trains 8 frames for 30 epochs, which are all epochs of Kinetics; on the other sets it does not say, and
    the cost that it reports there is near that of all epochs of the set.

    Cost: 0.58 at 32 frames, 0.40 at 128; with the features of 4 views stored 0.29 and 0.11. Published are 0.56 to 0.63
    of the time.

    Published: ViViT-L 82.8 % (Kinetics-400), 83.5 (Kinetics-600), 63.9 (SSv2), 53.6 (Something-Else), 43.5 (EPIC
    actions); ViViT-H 84.4, 84.4, and 40.0 on Moments in Time (Tables 5 and 6).
    """
    return _vivit("vivit_sfa", fields, _sfa_stages())


def vivit_12gb(**fields: Any) -> TrainConfig:
    """``vivit`` on a card of 12 GB: the same 128 clips per step, in as many forward passes as it takes, in fp16; what
    blocks keep is computed again where not even one clip would fit.

    Example: kinelite train vivit_12gb --data ssv2:/data/ssv2 --model vivit_fe_b --pretrained hub

    Cost: 1; a third more time where blocks are computed again.

    Published: 16 frames fit a 2080 Ti in conventional training (section 4.8).
    """
    return _on_card("vivit_12gb", fields, (Stage("end-to-end"),), CARDS["12gb"])


def vivit_24gb(**fields: Any) -> TrainConfig:
    """``vivit`` on a card of 24 GB: as ``vivit_12gb``, in bf16.

    Example: kinelite train vivit_24gb --data ssv2:/data/ssv2 --model vivit_fe_l --pretrained hub

    Cost: 1; a third more time where blocks are computed again.

    Published: nothing for cards of this size.
    """
    return _on_card("vivit_24gb", fields, (Stage("end-to-end"),), CARDS["24gb"])


def vivit_sfa_12gb(**fields: Any) -> TrainConfig:
    """``vivit_sfa`` on a card of 12 GB: the same 128 clips per step, in as many forward passes as it takes, in fp16;
    the second stage reads stored features. ViViT-g has no room for 8 frames there: ``sfa_long`` from a run made
    elsewhere.

    Example: kinelite train vivit_sfa_12gb --data ssv2:/data/ssv2 --model vivit_fe_l --pretrained hub --frames 80

    Cost: 0.58 at 32 frames, 0.40 at 128; with the features of 4 views stored 0.29 and 0.11, which is what runs.

    Published: 80 frames fit a 2080 Ti where conventional training has room for 16 (section 4.8).
    """
    return _on_card("vivit_sfa_12gb", fields, _sfa_stages(), CARDS["12gb"])


def vivit_sfa_24gb(**fields: Any) -> TrainConfig:
    """``vivit_sfa`` on a card of 24 GB: as ``vivit_sfa_12gb``, in bf16; ViViT-g too.

    Example: kinelite train vivit_sfa_24gb --data ssv2:/data/ssv2 --model vivit_fe_h --frames 128

    Cost: 0.58 at 32 frames, 0.40 at 128; with the features of 4 views stored 0.29 and 0.11, which is what runs.

    Published: nothing for cards of this size.
    """
    return _on_card("vivit_sfa_24gb", fields, _sfa_stages(), CARDS["24gb"])


def _sfa_stages() -> tuple[Stage, ...]:
    return Stage("short", frames=SHORT_FRAMES), Stage("long", freeze=FROZEN, adapter=True)


def _vivit(name: str, fields: dict[str, Any], stages: tuple[Stage, ...]) -> TrainConfig:
    fields = {"data": "kinetics400", "model": "vivit_fe_b"} | fields
    if fields["model"] not in SIZES:
        near = difflib.get_close_matches(fields["model"], SIZES, n=1, cutoff=0.4)
        raise UsageError(
            f"Recipe '{name}' is for {', '.join(SIZES)}, and --model is '{fields['model']}'."
            + (f" Nearest: {near[0]}." if near else "")
            + " Any factorised model trains with: kinelite train sfa"
        )
    clips, net = fields.get("clips") or ClipConfig(), fields.get("net") or NetConfig()
    found = column(name, fields["data"], clips.policy)
    optim = OptimConfig(
        name="sgd",
        lr=found.lr,
        weight_decay=0.0,
        momentum=MOMENTUM,
        warmup_epochs=WARMUP_EPOCHS,
        clip_norm=1.0,
        label_smoothing=found.label_smoothing,
        mixup=found.mixup,
    )
    clips = replace(
        clips,
        sampling=clips.sampling or "dense",
        stride=clips.stride or found.stride,
        fit=clips.fit or "crop",
        policy=found.policy if clips.policy == "auto" else clips.policy,
    )
    net = replace(net, drop_path=found.drop_path if net.drop_path is None else net.drop_path)
    config = TrainConfig(recipe=name, epochs=found.epochs, batch=BATCH, optim=optim, stages=stages)
    return replace(config, **fields | {"clips": clips, "net": net})


def _on_card(name: str, fields: dict[str, Any], stages: tuple[Stage, ...], card: Card) -> TrainConfig:
    """The config of ``stages`` with as many clips at a time as fit, and whether blocks are computed again."""
    config = _vivit(name, fields, stages)
    found = [_fit(config, stage, card) for stage in config.stages]
    chosen = tuple(replace(stage, micro_batch=micro) for stage, (micro, _) in zip(config.stages, found, strict=True))
    own = {
        "precision": card.precision,
        "memory": MemoryConfig(recompute=any(again for _, again in found)),
        "features": _stored(config) if any(stage.freeze for stage in stages) else FeaturesConfig(),
        "stages": chosen,
    }
    return replace(config, **{k: v for k, v in own.items() if k not in fields})


def _stored(config: TrainConfig) -> FeaturesConfig:
    """No more views than there are epochs that could look at them."""
    return FeaturesConfig(mode="stored", views=max(1, min(FeaturesConfig.views, config.epochs)))


def _fit(config: TrainConfig, stage: Stage, card: Card) -> tuple[int | None, bool]:
    """Clips at a time (None: those that the run says), and whether blocks are computed again for it."""
    frames, frozen = stage.frames or config.frames, bool(stage.freeze)
    size, px = size_of(config.model, config.net.encoder), config.size or 224
    if config.micro_batch:
        at_least = 1 if config.micro_batch == "auto" else config.micro_batch
        plain = step_gib(size, frames, at_least, frozen=frozen, size_px=px)
        return None, not frozen and plain > card.free_gib
    most = min(config.batch, LARGEST_MICRO_BATCH)
    for again in (False, True):
        micro = clips_that_fit(size, card, frames, most, frozen=frozen, recompute=again, size_px=px)
        if micro:
            return micro, again
    raise _no_room(config, stage, card, frames, step_gib(size, frames, 1, recompute=True, size_px=px))


def _no_room(config: TrainConfig, stage: Stage, card: Card, frames: int, gib: float) -> UsageError:
    size, px = size_of(config.model, config.net.encoder), config.size or 224
    fewer = [n for n in range(8, frames, 8) if clips_that_fit(size, card, n, 1, recompute=True, size_px=px)]
    smaller = [m for m in SIZES if clips_that_fit(size_of(m), card, frames, 1, recompute=True, size_px=px)]
    short = clips_that_fit(size, card, SHORT_FRAMES, 1, recompute=True, size_px=px) and not stage.frames
    ways = [f"--frames {fewer[-1]}"] if fewer and not stage.frames else []
    ways += [f"--model {smaller[-1]}"] if smaller else []
    ways += [f"kinelite train {config.recipe.replace('vivit_', 'vivit_sfa_')}"] if short else []
    ways += ["kinelite train sfa_long --init RUN, from 8 frames that were trained elsewhere"]
    return UsageError(
        f"{config.model} at {frames} frames does not train end to end on a card of {card.name}: about {gib:.1f} GiB "
        f"for one clip at a time, and {card.free_gib:g} are to be had. What does: {'; '.join(ways)}."
    )
