"""Read eight frames of a clip at known times and write them side by side as one picture.

Example: python docs/examples/read_a_clip.py clip.mp4 frames.png
"""

from __future__ import annotations

import sys

import cv2
import numpy as np

import kinelite as kl


def main(path: str, picture: str) -> None:
    clip = kl.read_clip(path, frames=8)  # sampling="dense", stride=2 for consecutive frames; start_s, end_s for a part
    t, c, h, w = clip.frames.shape
    print(f"{t} frames of {c} x {h} x {w}, {clip.frames.dtype}")
    print("shown at", ", ".join(f"{time:.3f} s" for time in clip.pts_s))
    strip = np.concatenate(list(clip.frames.transpose(0, 2, 3, 1)), axis=1)
    cv2.imwrite(picture, cv2.cvtColor(strip, cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
