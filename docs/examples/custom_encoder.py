"""Put any timm vision transformer in front of the transformer over time, and look at what its parts return.

Example: python docs/examples/custom_encoder.py vit_small_patch14_dinov2.lvd142m
"""

from __future__ import annotations

import sys

import torch

import kinelite as kl


@torch.no_grad()
def main(encoder: str = "vit_small_patch14_dinov2.lvd142m", size: int | None = None) -> None:
    # pretrained=True fetches the encoder's image weights, pretrained="file.safetensors" reads them.
    model = kl.create_model(f"vivit_fe:{encoder}", num_classes=10, frames=8, size=size).eval()
    print(f"input: {model.spec}")
    for part in ("encoder", "temporal", "head"):
        print(f"{part}: {sum(p.numel() for p in getattr(model, part).parameters()) / 1e6:.2f} M parameters")
    video = torch.randn(1, 3, model.spec.frames, model.spec.size, model.spec.size)
    features = model.encode(video)  # [b, tubelets, width]: what SFA's second stage never has to differentiate
    print(f"features: {tuple(features.shape)}; logits: {tuple(model.classify(features).shape)}")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
