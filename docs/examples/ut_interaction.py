"""Write a CSV for the UT-Interaction clips: split by sequence, as the published leave-one-sequence-out protocol asks.

usage: python ut_interaction.py ROOT OUT.csv [--fold K/N]

ROOT holds set1/, set2/ and splits.csv (columns file, label, sequence, suggested_split). Without --fold the suggested
test sequences are held out and all others train; with it, every N-th sequence from the K-th on is held out (N = 20:
leave one sequence out). Windows without an action, which splits.csv lists as 'extra', are left out.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path


def main(root: str, out: str, *rest: str) -> None:
    """Read splits.csv and write path, label, split, group."""
    with open(Path(root, "splits.csv"), newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["suggested_split"] != "extra"]
    sequences = sorted({int(row["sequence"]) for row in rows})
    held_out = None
    if rest:
        fold, folds = map(int, rest[-1].split("/"))
        held_out = set(sequences[fold::folds])
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    with open(out, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split", "group"])
        for row in rows:
            suggested = row["suggested_split"] == "test"
            split = "test" if (suggested if held_out is None else int(row["sequence"]) in held_out) else "train"
            writer.writerow([Path(root, row["file"]).resolve(), row["label"], split, row["sequence"]])


if __name__ == "__main__":
    main(*sys.argv[1:])
