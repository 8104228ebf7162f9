"""Latency of a model beside a public implementation of the same model, in turn, in one process.

    python docs/examples/latency_against.py swin3d_t docs/examples/peers/torchvision_swin3d_t.py --rounds 15

A peer is a file with ``build(frames, size, classes)`` that returns a module from ``[b, c, t, h, w]`` to logits.
"""

from __future__ import annotations

import argparse
import runpy
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

import torch

import kinelite as kl
from kinelite.bench.side_by_side import forward, side_by_side, training_step
from kinelite.records import BenchRecord, append_jsonl, environment

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model")
parser.add_argument("peer", type=Path)
parser.add_argument("--frames", type=int, help="default: the model's own")
parser.add_argument("--size", type=int, help="default: the model's own")
parser.add_argument("--batch", type=int, default=1)
parser.add_argument("--rounds", type=int, default=15)
parser.add_argument("--calls", type=int, default=1, help="calls per round, for models of a few milliseconds")
parser.add_argument("--threads", type=int, help="threads of PyTorch")
parser.add_argument("--train", action="store_true", help="forward and backward instead of inference")
parser.add_argument("--device", default="cpu")
parser.add_argument("--out", type=Path, help="append a record to this JSONL file")
args = parser.parse_args()

if args.threads:
    torch.set_num_threads(args.threads)
torch.manual_seed(0)
model = kl.create_model(args.model, num_classes=400, frames=args.frames, size=args.size)
ours, spec = model.train(args.train).to(args.device), model.spec
theirs = runpy.run_path(str(args.peer))["build"](spec.frames, spec.size, 400).train(args.train).to(args.device)
video = torch.randn(args.batch, 3, spec.frames, spec.size, spec.size, device=args.device)
once = training_step if args.train else forward
found = side_by_side(once(ours, video), once(theirs, video), rounds=args.rounds, calls=args.calls, device=args.device)
print(
    f"{args.model}: {found.ours_ms:.1f} ms, {args.peer.stem}: {found.theirs_ms:.1f} ms, "
    f"ratio {found.ratio:.3f} ({found.ratio_low:.3f}-{found.ratio_high:.3f})"
)
if args.out:
    record = BenchRecord(
        model=args.model,
        mode="training step" if args.train else "single" if args.batch == 1 else "batch",
        device=args.device,
        precision="fp32",
        batch=args.batch,
        frames=spec.frames,
        size=spec.size,
        figures={"peer": args.peer.stem, "threads": torch.get_num_threads(), **asdict(found)},
        command=shlex.join(["python", *sys.argv]),
        environment=environment(),
    )
    append_jsonl(args.out, record)
