"""Is this machine able to do what Kinelite needs? One line per check, the command that mends it, nothing left behind.

Torch and PyAV are imported inside the checks, so that a missing or broken one is a line and not a traceback.
"""

from __future__ import annotations

import io
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple

from kinelite.records import GIB, cores, cpu_name, environment, memory_gib, version

State = Literal["ok", "warn", "fail"]
REINSTALL = "python -m pip install --force-reinstall {0}"
REQUIRED = {"torch": "torch", "torchvision": "torchvision", "timm": "timm", "av": "av", "opencv-python-headless": "cv2"}
OTHERS = ("numpy", "lightning-fabric", "torchmetrics", "safetensors", "msgspec", "tyro", "rich", "jinja2", "matplotlib")
EXTRAS = {"tensorboard": "tensorboard"}
LOW_DISK_GIB, NO_DISK_GIB = 5.0, 0.5
LOW_MEMORY_GIB = 4.0
LOW_SHARED_GIB = 0.25
BF16_FLAGS = {"avx512_bf16", "amx_bf16"}


class Check(NamedTuple):
    """The result of one check."""

    name: str
    status: State
    found: str
    next: str = ""
    """The command that mends it, or what to do."""


def diagnose(runs: str | Path = "runs") -> dict[str, Any]:
    """Run all checks: {"ok": no check failed, "checks": [{"name", "status", "found", "next"}], "environment"}.

    ``runs`` is the folder whose disk is looked at. Raises nothing; a check that breaks is a failed check.
    """
    checks = [_guarded("python", _python), _guarded("machine", _machine)]
    checks += [_guarded(package, _library, package, module) for package, module in REQUIRED.items()]
    checks += [
        _guarded("other libraries", _others),
        _guarded("FFmpeg libraries", _ffmpeg),
        _guarded("H.264", _round_trip),
        _guarded("devices", _devices),
        _guarded("shared memory", _shared_memory),
        _guarded("runs folder", _folder, "runs folder", Path(runs), "--out FOLDER"),
        _guarded("cache folder", _cache),
        *(_guarded(extra, _extra, extra, module) for extra, module in EXTRAS.items()),
    ]
    return {
        "ok": all(check.status != "fail" for check in checks),
        "checks": [check._asdict() for check in checks],
        "environment": environment(),
    }


def render(diagnosis: dict[str, Any]) -> str:
    """The result of `diagnose` as lines for a terminal and a bug report."""
    checks = diagnosis["checks"]
    width = max(len(check["name"]) for check in checks)
    lines = [f"Kinelite {diagnosis['environment']['kinelite']}"]
    for check in checks:
        lines.append(f"{check['status']:<5} {check['name']:<{width}}  {check['found']}")
        if check["next"]:
            lines.append(f"{'':<5} {'':<{width}}  -> {check['next']}")
    counts = {status: sum(check["status"] == status for check in checks) for status in ("ok", "warn", "fail")}
    lines.append(f"{counts['ok']} ok, {counts['warn']} to know about, {counts['fail']} failed.")
    lines.append("For a bug report, paste all of this and the command that went wrong.")
    return "\n".join(lines)


def _guarded(name: str, check: Callable[..., Check], *arguments: Any) -> Check:
    try:
        return check(*arguments)
    except ImportError as error:
        # The check of the library itself says how to mend it.
        return Check(name, "fail", f"could not be checked: {_line(error)}")
    except Exception as error:
        return Check(name, "fail", _line(error))


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _python() -> Check:
    return Check("python", "ok", f"{platform.python_version()} ({sys.executable}) on {platform.platform()}")


def _machine() -> Check:
    memory = memory_gib()
    found = f"{cpu_name()}, {cores()} cores, {'unknown' if memory is None else f'{memory:.1f} GiB'} of memory"
    if memory is not None and memory < LOW_MEMORY_GIB:
        return Check("machine", "warn", found, "Take a small model, few frames and --micro-batch 1")
    return Check("machine", "ok", found)


def _library(package: str, module: str) -> Check:
    installed = version(package)
    try:
        imported = import_module(module)
    except Exception as error:
        found = f"{installed} is installed and cannot be imported" if installed else "not installed"
        return Check(package, "fail", f"{found} ({_line(error)})", REINSTALL.format(package))
    return Check(package, "ok", installed or str(getattr(imported, "__version__", "version unknown")))


def _others() -> Check:
    versions = {package: version(package) for package in OTHERS}
    missing = [package for package, found in versions.items() if found is None]
    if missing:
        return Check("other libraries", "fail", f"not installed: {', '.join(missing)}", REINSTALL.format("kinelite"))
    return Check("other libraries", "ok", ", ".join(f"{package} {found}" for package, found in versions.items()))


def _ffmpeg() -> Check:
    import av

    libraries = ", ".join(f"{name} {'.'.join(map(str, v))}" for name, v in sorted(av.library_versions.items()))
    return Check("FFmpeg libraries", "ok", f"{libraries} (of PyAV)")


def _round_trip() -> Check:
    import av
    import numpy as np

    picture = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None] * 4, 64, 0).repeat(3, 2)
    try:
        file = _encode(av, picture)
    except Exception as error:
        found = f"no file can be made: {_line(error)}"
        return Check("H.264", "warn", found, f"The motion set needs it: {REINSTALL.format('av')}")
    with av.open(file, "r") as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    apart = max((float(np.abs(frame.astype(int) - picture).mean()) for frame in frames), default=255.0)
    if len(frames) != 2 or apart > 16:
        found = f"2 frames were encoded, {len(frames)} came back, {apart:.0f} grey levels apart"
        return Check("H.264", "fail", found, REINSTALL.format("av"))
    return Check("H.264", "ok", "2 frames encoded and decoded")


def _encode(av: Any, picture: Any) -> io.BytesIO:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "yuv420p"
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    file.seek(0)
    return file


def _devices() -> Check:
    import torch

    found = [f"cpu ({torch.get_num_threads()} threads, {'with' if _has_bf16() else 'without'} bf16 instructions)"]
    for i in range(torch.cuda.device_count()):
        free, total = (amount / GIB for amount in torch.cuda.mem_get_info(i))
        bf16 = "with" if torch.cuda.get_device_capability(i) >= (8, 0) else "without"
        found.append(f"cuda:{i} {torch.cuda.get_device_name(i)} ({free:.1f} of {total:.1f} GiB free, {bf16} bf16)")
    if torch.backends.mps.is_available():
        found.append("mps")
    if not torch.cuda.is_available() and Path("/dev/nvidiactl").exists():
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        found.append(f"an NVIDIA GPU that torch (built {built}) cannot use")
        return Check("devices", "warn", "; ".join(found), "Install a torch build for your driver: https://pytorch.org")
    return Check("devices", "ok", "; ".join(found))


def _has_bf16() -> bool:
    try:
        return bool(BF16_FLAGS & set(Path("/proc/cpuinfo").read_text(errors="replace").split()))
    except OSError:
        return False


def _shared_memory() -> Check:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return Check("shared memory", "ok", "not limited on this system")
    free = shutil.disk_usage(folder).free / GIB
    if free < LOW_SHARED_GIB:
        advice = "Decoding workers may crash: --workers 0, or in Docker --shm-size 1g"
        return Check("shared memory", "warn", f"{free:.2f} GiB free", advice)
    return Check("shared memory", "ok", f"{free:.1f} GiB free")


def _folder(name: str, folder: Path, choose: str) -> Check:
    folder = folder.absolute()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free / GIB
    found = f"{folder}: {free:.1f} GiB free"
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        return Check(name, "fail", f"{found}, cannot be written ({error.strerror})", f"Choose another: {choose}")
    if free < NO_DISK_GIB:
        return Check(name, "fail", found, f"Free some space or choose another: {choose}")
    return Check(
        name, "warn" if free < LOW_DISK_GIB else "ok", found, "" if free >= LOW_DISK_GIB else "Free some space"
    )


def _cache() -> Check:
    from kinelite.data.cache import cache_folder

    return _folder("cache folder", cache_folder(), "KINELITE_CACHE=FOLDER")


def _extra(extra: str, module: str) -> Check:
    installed = version(module)
    if installed is None:
        return Check(extra, "ok", f"not installed; optional: python -m pip install 'kinelite[{extra}]'")
    return Check(extra, "ok", installed)
