"""Bench records that nothing was measured for: plausible figures from a seed, to test tables, figures and pages with.

python tests/helpers/made_bench.py FOLDER writes some, to look at a page (never into results/).
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

from kinelite.records import BenchRecord, append_jsonl
from kinelite.report.published import published_memory_gib, published_models, published_relative

GMACS = {
    "timesformer": 392.07, "nl_r50": 146.1, "tea_r50": 69.08, "swin3d_t": 43.88, "vivit_fe_s": 68.51, "i3d_bert": 68.0,
    "vtn_r50": 65.43, "mvit_s": 29.95, "vtn_eff": 6.19, "tsm_r50": 65.395, "movinet_a2": 3.701, "x3d_xs": 4.732,
    "movinet_a0": 1.323,
}  # fmt: skip
PARAMS_M = {
    "timesformer": 121.6, "nl_r50": 31.69, "tea_r50": 24.92, "swin3d_t": 28.16, "vivit_fe_s": 25.4, "i3d_bert": 50.61,
    "vtn_r50": 26.51, "mvit_s": 26.04, "vtn_eff": 6.813, "tsm_r50": 24.33, "movinet_a2": 4.84, "x3d_xs": 3.794,
    "movinet_a0": 2.702,
}  # fmt: skip
BATCH = {"train": 8, "batch": 32, "single": 1}
FASTEST_MS = {"train": 900.0, "batch": 1600.0, "single": 60.0}
CPU = {"cpu": "AMD EPYC", "cores": 2, "memory_gib": 23.54, "torch": "2.15.0", "kinelite": "0.1.0", "cuda": None}
GPU = CPU | {"cpu": "Intel(R) Xeon(R) Processor", "cores": 16, "cuda": "NVIDIA H200"}


def made(model: str, mode: str, latency_ms: float | None = None, **fields: Any) -> BenchRecord:
    """A record of ``model`` on a CPU in fp32 with two threads; ``fields`` replace what it says."""
    facts: dict[str, Any] = {
        "model": model, "mode": mode, "device": "cpu", "device_name": "AMD EPYC", "precision": "fp32", "threads": 2,
        "batch": BATCH.get(mode, 1), "frames": 16, "size": 224, "warmup": 10, "runs": 100, "environment": CPU,
        "gmacs": GMACS.get(model), "params_m": PARAMS_M.get(model), "created": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    if latency_ms is not None:
        facts |= {
            "latency_ms_mean": 1.01 * latency_ms, "latency_ms_median": latency_ms, "latency_ms_p10": 0.97 * latency_ms,
            "latency_ms_p90": 1.08 * latency_ms, "spread": 0.11,
        }  # fmt: skip
    return BenchRecord(**facts | fields)


def made_set(seed: int = 0, slow: float = 1.0, power: float = 0.55, **fields: Any) -> list[BenchRecord]:
    """All thirteen models in three modes, latency in proportion to GMACs to the ``power``, disturbed by 15 %."""
    draw = random.Random(seed)
    found = []
    for mode in BATCH:
        memory = published_memory_gib(mode)
        for model in published_models():
            relative = (GMACS[model] / GMACS["movinet_a0"]) ** power
            ms = slow * FASTEST_MS[mode] * relative * draw.uniform(0.85, 1.15)
            its = {"peak_memory_gib": round(0.6 + 0.9 * memory[model], 3), "memory_kind": "rss"}
            its["tensors_gib"] = round(0.9 * memory[model], 3)
            found.append(made(model, mode, ms, **its | fields))
    return found


def awkward() -> list[BenchRecord]:
    """Everything that a page has to cope with: failures, smaller batches, notes, repeats, another version, a GPU."""
    cpu = [
        record
        for record in made_set(0)
        if (record.model, record.mode) not in (("timesformer", "train"), ("nl_r50", "batch"))
    ]
    oom = {
        "status": "oom",
        "batch": 8,
        "message": "batch 8 does not fit: can't allocate memory: you tried to allocate 1233 bytes",
    }
    failed = [
        made("timesformer", "train", **oom | {"created": "2026-01-01T01:00:00+00:00"}),
        made("timesformer", "train", **oom | {"batch": 4, "asked_batch": 8, "created": "2026-01-01T01:01:00+00:00"}),
        made("timesformer", "train", 9000.0, batch=2, asked_batch=8, created="2026-01-01T01:02:00+00:00",
             peak_memory_gib=18.2, memory_kind="rss"),
        made("nl_r50", "batch", status="failed", message="the process ended with signal 9 (killed)"),
    ]  # fmt: skip
    noted = [
        made("swin3d_t", "single", 700.0, created="2026-01-02T00:00:00+00:00",
             notes=["2.1 cores were busy with something else", "23 calls instead of 100: the time limit of 120 s"]),
        made("movinet_a0", "single", 61.0, created="2026-01-02T00:00:00+00:00"),
        made("x3d_xs", "single", 128.0, created="2026-01-02T00:00:00+00:00"),
    ]  # fmt: skip
    half = made_set(1, slow=0.7, precision="bf16")
    gpu_fields: dict[str, Any] = {"device": "cuda", "device_name": "NVIDIA H200", "precision": "bf16", "threads": None,
                                  "environment": GPU, "memory_kind": "cuda", "tensors_gib": None}  # fmt: skip
    gpu = made_set(2, slow=0.02, power=0.4, **gpu_fields)
    compiled = [made(r.model, "single", r.latency_ms_median / 2, **gpu_fields | {"compiled": True})
                for r in gpu if r.mode == "single" and r.latency_ms_median]  # fmt: skip
    compiled += [made("swin3d_t", "single", status="unsupported", message="torch.compile: graph break in roll",
                      created="2026-01-03T00:00:00+00:00", **gpu_fields | {"compiled": True})]  # fmt: skip
    stream = [made("movinet_a0_stream", "stream", 5.2), made("tsm_r50_online", "stream", 31.0)]
    return [*cpu, *failed, *noted, *half, *gpu, *compiled, *stream]


def agreed(mode: str) -> list[BenchRecord]:
    """Records whose relative latencies are those that the paper published."""
    return [made(model, mode, FASTEST_MS[mode] * relative) for model, relative in published_relative(mode).items()]


def main() -> None:
    """Write files, and a damaged line."""
    folder = Path(sys.argv[1])
    for record in awkward():
        append_jsonl(folder / f"{record.device}.jsonl", record, sync=False)
    with open(folder / "cpu.jsonl", "a") as file:
        file.write('{"kind": "bench", "model": "cut off her')


if __name__ == "__main__":
    main()
