"""The device that is asked for: one of this machine, or another one by its name; and which records are of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kinelite.errors import unknown
from kinelite.records import BenchRecord, cores, cpu_name

if TYPE_CHECKING:
    from kinelite.report.recommend.estimate import Device, Rate

RUNTIMES = ("onnxruntime", "executorch", "coreml")
"""Devices of measurements that run on the processor of this machine."""


def find_device(asked: str, precision: str | None, records: Sequence[BenchRecord]) -> Device:
    """Its records, and a published rate for a GPU that has none.

    Raises UsageError for a name that neither stands in a record nor is a card with published figures, SetupError for
    'cuda' where there is no GPU.
    """
    from kinelite.report.recommend.estimate import Device

    kind = asked.split(":")[0]
    if kind in ("auto", "cuda", "mps"):
        return _of_torch(asked, precision, records)
    if kind == "cpu" or kind in RUNTIMES:
        name = cpu_name()
        return Device(
            f"{name} of this machine" + (f", {kind}" * (kind != "cpu")), _here(records, kind, name), here=kind
        )
    return _elsewhere(asked, precision, records)


def _of_torch(asked: str, precision: str | None, records: Sequence[BenchRecord]) -> Device:
    from kinelite.report.recommend.estimate import Device
    from kinelite.train.device import place

    placed = place(asked)
    kind = placed.accelerator
    if kind == "cpu":
        return find_device("cpu", precision, records)
    if kind == "mps":
        own = [record for record in records if record.device.split(":")[0] == "mps"]
        return Device("the Apple GPU of this machine", own, here="mps")
    import torch

    name = torch.cuda.get_device_name(torch.device(placed.device))
    own = [record for record in records if record.device_name == name]
    return Device(f"{name} of this machine", own, _rate(name, precision or placed.precision), here=kind)


def _here(records: Sequence[BenchRecord], device: str, name: str) -> list[BenchRecord]:
    """Of the same processor with as many cores; one that does not say is taken to be."""
    alike = [record for record in records if record.device == device and _names(record) == name]
    return [record for record in alike if record.environment.get("cores") in (None, cores())]


def _names(record: BenchRecord) -> str:
    return record.device_name or str(record.environment.get("cpu") or "")


def _elsewhere(asked: str, precision: str | None, records: Sequence[BenchRecord]) -> Device:
    from kinelite.plan.gpus import GPUS, known_gpu
    from kinelite.report.recommend.estimate import Device

    wanted = _words(asked)
    own = [record for record in records if wanted and wanted <= _words(_names(record))]
    rate = _rate(asked, precision or "fp16")
    if not own and rate is None:
        known = {_names(record) for record in records} - {""}
        names = [*known, *(gpu.name for gpu in GPUS), "cpu", "cuda", "mps", *RUNTIMES]
        raise unknown("device", asked, names, "kinelite recommend --help")
    card = known_gpu(asked)
    names = sorted({_names(record) for record in own}) or [card.name if card else asked]
    return Device(", ".join(names), own, rate)


def _rate(name: str, precision: str) -> Rate | None:
    """A share of the published peak of a card."""
    from kinelite.plan.gpus import known_gpu
    from kinelite.plan.hours import published
    from kinelite.report.recommend.estimate import Rate

    card = known_gpu(name)
    if card is None:
        return None
    found = published(card, precision)
    return Rate(found.flops_per_s, str(found))


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", name.lower()))
