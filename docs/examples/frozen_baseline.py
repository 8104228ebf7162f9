"""What frozen image features alone give: an encoder that is not trained, and logistic regression over ordered frames.

usage: python frozen_baseline.py SET [WEIGHTS.safetensors] [--model NAME] [--frames N]

Worth a minute before any training: a recipe that is not better on your clips has learnt little from them. Needs
scikit-learn. Without WEIGHTS the encoder is random.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import kinelite as kl
from kinelite.config import NetConfig
from kinelite.data.dataset import ClipDataset, Reading
from kinelite.data.manifest import Manifest
from kinelite.train.run import split_of
from kinelite.train.step import normalise


@torch.no_grad()
def features(model: torch.nn.Module, clips: Manifest) -> tuple[np.ndarray, np.ndarray]:
    """Features of all frames of each clip in their order [n, t * d], and labels [n]."""
    samples = list(map(ClipDataset(clips, Reading(model.spec)).__getitem__, range(len(clips.rows))))
    good = [sample for sample in samples if sample.frames is not None]
    rows = [
        model.encode(normalise(torch.from_numpy(s.frames), model.spec, torch.device("cpu"))).flatten().numpy()
        for s in good
    ]
    return np.stack(rows), np.array([sample.labels[0] for sample in good])


def main() -> None:
    """Encode both splits, fit on one, score the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("set")
    parser.add_argument("weights", nargs="?")
    parser.add_argument("--model", default="vivit_fe:deit_tiny_patch16_224.fb_in1k")
    parser.add_argument("--frames", type=int, default=8)
    flags = parser.parse_args()
    torch.manual_seed(0)
    net = NetConfig(tubelet=1)
    model = kl.create_model(flags.model, num_classes=2, frames=flags.frames, pretrained=flags.weights, net=net).eval()
    (x, y), (x_test, y_test) = (features(model, clips) for clips in split_of(kl.load_set(flags.set)))
    learner = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=3000)).fit(x, y)
    print(f"{100 * learner.score(x_test, y_test):.1f} % of {len(y_test)} held-out clips")


if __name__ == "__main__":
    main()
