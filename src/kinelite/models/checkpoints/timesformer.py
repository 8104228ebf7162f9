"""Names of TimeSformer's published checkpoints (2102.05095): its authors' and transformers'."""

from __future__ import annotations

from kinelite.models.checkpoints.layout import GREY, Layout

LAYOUTS = (
    Layout(
        "TimeSformer's authors",
        marks=(r"^(model\.time_embed|time_embed|model\.blocks\.\d+\.attn\.qkv\.weight)$",),
        rename=((r"^model\.", ""), (r"^(?!head\.)", "encoder.")),
        spec=GREY,
    ),
    Layout(
        "transformers",
        marks=(r"^timesformer\.embeddings\.cls_token$",),
        rename=(
            (r"^classifier\.", "head."),
            (r"^timesformer\.(embeddings\.|encoder\.)?", "encoder."),
            (r"patch_embeddings\.projection", "patch_embed.proj"),
            (r"position_embeddings$", "pos_embed"),
            (r"time_embeddings$", "time_embed"),
            (r"\.layer\.(\d+)\.", r".blocks.\1."),
            (r"temporal_attention\.attention\.qkv", "temporal_attn.qkv"),
            (r"temporal_attention\.output\.dense", "temporal_attn.proj"),
            (r"attention\.attention\.qkv", "attn.qkv"),
            (r"attention\.output\.dense", "attn.proj"),
            (r"temporal_layernorm", "temporal_norm1"),
            (r"layernorm_before", "norm1"),
            (r"layernorm_after", "norm2"),
            (r"temporal_dense", "temporal_fc"),
            (r"intermediate\.dense", "mlp.fc1"),
            (r"output\.dense", "mlp.fc2"),
            (r"encoder\.layernorm", "encoder.norm"),
        ),
        spec=GREY,
    ),
)
"""What `kinelite.models.timesformer` can start from."""
