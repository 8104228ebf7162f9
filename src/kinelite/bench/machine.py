"""What else the machine did meanwhile: other load, clocks, temperature, energy. What cannot be read is left out."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OTHER_CORES = 0.15
"""Cores that other processes may keep busy before it is said."""
_STAT = Path("/proc/stat")
_CLOCKS = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq"
_ZONES = "/sys/class/thermal/thermal_zone*/temp"
_ENERGY = "/sys/class/powercap/intel-rapl:*/energy_uj"


@dataclass
class Watch:
    """What is read at the beginning of a measurement and again at its end."""

    device: str
    began_s: float = field(default_factory=lambda: time.perf_counter())
    busy_s: float | None = field(default_factory=lambda: busy_cpu_s())
    own_s: float = field(default_factory=lambda: sum(os.times()[:4]))
    energy_j: float | None = None

    def __post_init__(self) -> None:
        self.energy_j = used_energy_j(self.device)

    def other_cores(self) -> float | None:
        """Cores that were busy with something else, on average since the beginning."""
        busy = busy_cpu_s()
        if busy is None or self.busy_s is None:
            return None
        own = sum(os.times()[:4]) - self.own_s
        return max(0.0, busy - self.busy_s - own) / max(time.perf_counter() - self.began_s, 1e-3)

    @contextlib.contextmanager
    def leaving_out(self) -> Iterator[None]:
        """What happens inside belongs to another: as if it had taken no time."""
        then = _now(self.device)
        yield
        for name, before, after in zip(
            ("began_s", "busy_s", "own_s", "energy_j"), then, _now(self.device), strict=True
        ):
            if (own := getattr(self, name)) is not None and before is not None and after is not None:
                setattr(self, name, own + after - before)

    def spent_j(self) -> float | None:
        """Energy since the beginning."""
        now = used_energy_j(self.device)
        # RAPL's counters begin anew now and then.
        return now - self.energy_j if now is not None and self.energy_j is not None and now >= self.energy_j else None


def _now(device: str) -> tuple[float | None, ...]:
    return time.perf_counter(), busy_cpu_s(), sum(os.times()[:4]), used_energy_j(device)


def busy_cpu_s() -> float | None:
    """Seconds that all cores together computed since the system started, idle time and waiting left out."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        user, nice, system, _, _, irq, soft, *_ = map(int, _STAT.read_text().splitlines()[0].split()[1:])
        return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")
    return None


def used_energy_j(device: str) -> float | None:
    """Counter of energy of the processor packages, or of the GPU, in joules."""
    if device == "cuda":
        return _gpu(lambda nvml, handle: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3)
    packages = [value for path in _glob(_ENERGY) if path.parent.name.count(":") == 1 for value in _numbers([path])]
    return sum(packages) / 1e6 if packages else None


def state(device: str) -> dict[str, Any]:
    """Clock in MHz and temperature in degrees Celsius, as far as they can be read."""
    if device == "cuda":
        found = {
            "clock_mhz": _gpu(lambda nvml, handle: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            "temperature_c": _gpu(lambda nvml, h: nvml.nvmlDeviceGetTemperature(h, nvml.NVML_TEMPERATURE_GPU)),
        }
    else:
        clocks, degrees = _numbers(_glob(_CLOCKS)), _numbers(_glob(_ZONES))
        found = {
            "clock_mhz": sum(clocks) / len(clocks) / 1e3 if clocks else None,
            "temperature_c": max(degrees) / 1e3 if degrees else None,
        }
    return {name: value for name, value in found.items() if value is not None}


def _gpu(ask: Any) -> float | None:
    """An answer of NVIDIA's management library, where it is installed."""
    with contextlib.suppress(Exception):
        import pynvml  # type: ignore[import-not-found]

        pynvml.nvmlInit()
        torch: Any = sys.modules["torch"]
        handle = pynvml.nvmlDeviceGetHandleByIndex(torch.cuda.current_device())
        return float(ask(pynvml, handle))
    return None


def _glob(pattern: str) -> list[Path]:
    return sorted(Path("/").glob(pattern.lstrip("/")))


def _numbers(paths: list[Path]) -> list[float]:
    found = []
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            found.append(float(path.read_text()))
    return found
