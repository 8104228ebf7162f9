"""The one recipe of *Evaluating Transformers for Lightweight Action Recognition* (arXiv 2111.09641)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kinelite.config import OptimConfig, Stage, TrainConfig

TABLE_6 = {
    "timesformer": (1e-4, False),
    "nl_r50": (1e-4, True),
    "tea_r50": (1e-4, False),
    "swin3d_t": (1e-4, True),
    "vivit_fe_s": (1e-4, True),
    "i3d_bert": (2e-4, True),
    "vtn_r50": (2e-4, True),
    "vtn_eff": (2e-4, True),
    "tsm_r50": (1e-4, True),
    "movinet_a2": (2e-4, True),
    "x3d_xs": (2e-4, True),
    "movinet_a0": (2e-4, True),
}
"""Starting learning rate and whether the pretrained backbone is frozen for the first epoch: *Evaluating Transformers
for Lightweight Action Recognition*, Table 6. A variant that is not in it (x3d_m, movinet_a0_stream) is trained as the
models of its family, a model of another family (MViT-S among them) with 1e-4 and the freeze."""


def table_6(model: str) -> tuple[float, bool]:
    """Learning rate and freeze of a model, by its name or the first word of it: all rows of a family are equal."""
    families = {row.partition("_")[0]: values for row, values in TABLE_6.items()}
    return TABLE_6.get(model) or families.get(model.partition("_")[0], (1e-4, True))


def lightweight(**fields: Any) -> TrainConfig:
    """The one recipe of *Evaluating Transformers for Lightweight Action Recognition* (section 4, Table 6): 16 sparse
    frames, batch 32, AdamW, weight decay 1e-5, learning rate of the model, times 0.1 after 2 epochs without progress;
    one epoch with the pretrained backbone frozen where the paper has a tick, then up to 34 (35) of everything.

    Example: kinelite train lightweight --data ssv2:/data/ssv2 --model x3d_xs --pretrained hub

    The paper does not name its optimiser.

    Cost: 1.

    Published: top-1 of all models is in its Table 2.
    """
    model = fields.get("model", TrainConfig.model)
    lr, frozen_first = table_6(model)
    stages = (Stage("frozen backbone", epochs=1, freeze=("@backbone",)), Stage("end-to-end"))
    optim = OptimConfig(lr=lr, weight_decay=1e-5, schedule="plateau", warmup_epochs=0.0)
    config = TrainConfig(
        recipe="lightweight",
        frames=16,
        batch=32,
        epochs=34 if frozen_first else 35,
        optim=optim,
        stages=stages if frozen_first else stages[1:],
    )
    return replace(config, **fields)
