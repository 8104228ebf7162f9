"""Label clips with a trained run and list those that the model is least sure about.

Example: python docs/examples/predict_clips.py runs/mine new_clips/ 'takes/*.mov'
"""

from __future__ import annotations

import sys

import kinelite as kl


def main(run: str, clips: list[str]) -> None:
    found = kl.predict(run, clips, top=2)
    for clip in found:
        if clip.problem:
            print(f"{clip.path}: not labelled, {clip.problem}")
    labelled = [clip for clip in found if not clip.problem]
    labelled.sort(key=lambda clip: clip.labels["label"][0]["probability"])
    for clip in labelled:
        first, second = clip.labels["label"]
        print(f"{clip.path}: {first['label']} {first['probability']:.3f} (then {second['label']})")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
