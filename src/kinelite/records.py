"""Records: one flat JSON object per training run or evaluation, and files that survive a full disk and a kill.

Training and evaluation write records, reports read them, and nothing else passes between the two. A run that failed or
ran out of memory is a record too. The JSON is strict: a value that is not finite is written as null.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from kinelite.errors import DataError, SetupError

Status = Literal["ok", "oom", "unsupported", "failed", "unstable", "stopped"]
Problems = list[str]
GIB = 1024**3
LIBRARIES = ("torch", "timm", "av", "numpy")
REFERENCE = "movinet_a0"
"""Latencies are relative to it, as in the lightweight paper, whose fastest model it is."""
SHORTENED = "the time limit of"
"""What a note says where a slow device made fewer calls: worth knowing, and no reason to doubt the figure."""


def now() -> str:
    """The time in ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, kw_only=True)
class _Record:
    """What every record says. Accuracies are shares in [0, 1]; None: not measured."""

    kind: str = ""
    model: str
    status: Status = "ok"
    message: str = ""
    """Why the status is not ok."""
    published: bool = False
    """The figures are quoted from a paper, named in ``source``; nothing was run."""
    source: str | None = None
    data: str = ""
    top1: float | None = None
    top5: float | None = None
    out: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    environment: dict[str, Any] = field(default_factory=dict)
    created: str = field(default_factory=now)


@dataclass(frozen=True, kw_only=True)
class TrainRecord(_Record):
    """One training run (record.json of a run folder)."""

    kind: str = "train"
    recipe: str = ""
    train_seconds: float | None = None
    """Time in the training loop, waiting for data included, evaluation not."""
    eval_seconds: float | None = None
    data_wait_seconds: float | None = None
    """Part of ``train_seconds`` in which the loop waited for clips."""
    peak_memory_gib: float | None = None
    memory_kind: Literal["rss", "cuda"] = "rss"
    """rss: resident memory of the process. cuda: memory allocated on the GPU."""
    trained_params: int | None = None
    """Parameters that took a gradient in the last stage."""
    params: int | None = None
    frames: int | None = None
    size: int | None = None
    epochs: int | None = None
    batch: int | None = None
    precision: str = ""
    device: str = ""
    seed: int | None = None
    clips: int | None = None
    """Training clips."""
    steps: int | None = None
    stages: list[dict[str, Any]] = field(default_factory=list)
    """Per stage: name, frames, epochs, micro_batch, seconds, trained_params, froze (patterns), top1, peak_memory_gib,
    steps, and features: None where the encoder trains, else {"mode": "online" or "stored", "reason"}, for stored ones
    with "views", "phases", "seconds" (of the pass, part of the stage's), "gib", "peak_memory_gib" (of the pass),
    "folder".
    """


@dataclass(frozen=True, kw_only=True)
class EvalRecord(_Record):
    """One evaluation (eval.json of a run folder)."""

    kind: str = "eval"
    split: str = ""
    ece: float | None = None
    """Expected calibration error."""
    loss: float | None = None
    scored: int | None = None
    """Clips that were scored."""
    clips: str = ""
    """'N of M': scored clips of all clips of the split."""
    views: str = ""
    """'TxS': temporal times spatial views, averaged."""
    classes: list[str] = field(default_factory=list)
    per_class: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Class name -> {"top1", "clips"}."""
    confusion: list[list[int]] = field(default_factory=list)
    """Clips by [label][prediction], in the order of ``classes``."""
    worst: list[dict[str, Any]] = field(default_factory=list)
    """{"path", "label", "predicted", "confidence", "strip"}; strip: a JPEG of frames, relative to the run folder."""
    skipped: list[dict[str, Any]] = field(default_factory=list)
    """{"path", "reason"} of each clip that could not be decoded."""
    tasks: dict[str, Any] = field(default_factory=dict)
    """The same numbers per task, when the set has several."""
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class BenchRecord(_Record):
    """One measurement; ``model`` is what was measured, for an input pipeline its name. None: not measured."""

    kind: str = "bench"
    mode: str = ""
    """train: a training step. batch, single: inference of a batch, of one clip. decode, clip_to_label: from the file.
    stream: one frame of a stream. input: reading clips. export: a file for another runtime, not timed."""
    device: str = ""
    """cpu, cuda, mps, onnxruntime, ...; of published figures the device's name."""
    device_name: str = ""
    """The processor or GPU that computed."""
    precision: str = ""
    compiled: bool = False
    threads: int | None = None
    batch: int | None = None
    asked_batch: int | None = None
    """The batch that was asked for, where a smaller one had to do."""
    frames: int | None = None
    size: int | None = None
    warmup: int | None = None
    """Calls before those that count."""
    runs: int | None = None
    """Calls that count."""
    latency_ms_mean: float | None = None
    """Of a call: a step, a batch, a clip, a frame."""
    latency_ms_median: float | None = None
    latency_ms_p10: float | None = None
    latency_ms_p90: float | None = None
    spread: float | None = None
    """(p90 - p10) / median."""
    samples_ms: list[float] = field(default_factory=list)
    """Each call that counts, in order."""
    relative_latency: float | None = None
    """Latency over that of ``figures["reference"]``, called in turn; as published over that of the fastest model."""
    notes: list[str] = field(default_factory=list)
    """What a reader has to know: a time limit that shortened the run, other load, throttling."""
    peak_memory_gib: float | None = None
    memory_kind: Literal["", "cuda", "rss", "vram"] = ""
    """cuda: largest sum allocated by PyTorch. rss: resident set of the process, libraries included. vram: as a paper
    calls it."""
    reserved_memory_gib: float | None = None
    """What PyTorch held of a GPU."""
    tensors_gib: float | None = None
    """On a CPU the largest sum of allocations by PyTorch in a call, weights included."""
    gmacs: float | None = None
    """Of one clip's forward pass."""
    params_m: float | None = None
    weights_mib: float | None = None
    energy_j: float | None = None
    """Per call, where the platform reports it."""
    figures: dict[str, Any] = field(default_factory=dict)
    """What else the mode measures, with units in the names."""


R = TypeVar("R", TrainRecord, EvalRecord, BenchRecord)


def from_dict(kind: type[R], data: Any) -> R:
    """A record from its JSON object. Names that this version does not know are left out; missing ones keep defaults.

    Raises DataError naming the field that does not fit.
    """
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise DataError(f"This is not a {kind.__name__}: {error}.") from error


def environment() -> dict[str, Any]:
    """What the numbers were measured on: versions, processor, cores and memory that this process may use.

    Never imports torch: the GPU is named only where torch is already loaded.
    """
    return {
        "kinelite": version("kinelite"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cores": cores(),
        "memory_gib": memory_gib(),
        **{name: version(name) for name in LIBRARIES},
        "cuda": _cuda_name(),
    }


def cpu_name() -> str:
    """The processor's name as the system gives it, and its vectors: clouds call several kinds by one name."""
    said: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            said.setdefault(key.strip(), value.strip())
    has = said.get("flags", "").split()
    vectors = ", AVX-512" if "avx512f" in has else ", AVX2" if "avx2" in has else ""
    return (said.get("model name") or platform.processor() or platform.machine()) + vectors


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_gib() -> float | None:
    """Main memory in GiB: that of the machine, or of the container when it allows less. None: unknown."""
    limits = []
    with contextlib.suppress(OSError, ValueError, AttributeError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with contextlib.suppress(OSError, ValueError):
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return round(min(limits) / GIB, 2) if limits else None


def version(name: str) -> str | None:
    """Version of an installed package; None when it is not installed."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(name)
    return None


def _cuda_name() -> str | None:
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    with contextlib.suppress(Exception):
        if cuda is not None and cuda.is_available():
            return cuda.get_device_name()
    return None


def plain(value: Any) -> Any:
    """``value`` as strict JSON values: dataclasses and mappings as dicts, numpy and torch values as numbers and lists,
    paths as text, NaN and infinities as None. Raises TypeError for anything else."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return Path(value).as_posix()
    if callable(listed := getattr(value, "tolist", None)):
        return plain(listed())
    raise TypeError(f"A record holds JSON values only, not {type(value).__name__}.")


def write_json(path: str | Path, obj: Any) -> None:
    """Write ``obj`` (a record or JSON values) so that the file is the old one or the new one, never half of it.

    The folder is made when missing. Raises SetupError naming the folder when it cannot be written.
    """
    replace_bytes(path, _dump(obj, indent=2))


def _dump(obj: Any, indent: int | None = None) -> bytes:
    text = json.dumps(plain(obj), indent=indent, ensure_ascii=False, allow_nan=False)
    # A file name that is not UTF-8 holds lone surrogates; as \udcxx they are valid JSON and come back unchanged.
    return text.encode(errors="backslashreplace") + b"\n"


def replace_bytes(path: str | Path, content: bytes) -> None:
    """Replace a file's whole content atomically and durably. Raises SetupError when the folder cannot be written."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def append_jsonl(path: str | Path, obj: Any, sync: bool = True) -> None:
    """Append one line and wait until it is on the disk. Raises SetupError when the folder cannot be written.

    A last line that an earlier kill left unfinished is closed first, so that only that line is lost. Without ``sync``
    the line outlives the process at once and the machine only once a later line, or `sync_file`, waited for the disk.
    """
    path = Path(path)
    line = _dump(obj)
    with explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b") as file:
            if file.tell() > 0:
                file.seek(-1, os.SEEK_END)
                line = line if file.read(1) == b"\n" else b"\n" + line
            file.write(line)
            file.flush()
            if sync:
                os.fsync(file.fileno())


def sync_file(path: str | Path) -> None:
    """Wait until all that was written to a file is on the disk; a missing file is none of it."""
    with explained(Path(path).parent), contextlib.suppress(FileNotFoundError), open(path, "rb+") as file:
        os.fsync(file.fileno())


def read_jsonl(path: str | Path) -> tuple[list[dict[str, Any]], Problems]:
    """The rows of a file of JSON lines, and a sentence for every line that is damaged (or for a missing file)."""
    path = Path(path)
    rows: list[dict[str, Any]] = []
    problems: Problems = []
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        return rows, [f"{path.name}: {error.strerror or error}"]
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = None
        with contextlib.suppress(ValueError):
            row = json.loads(line)
        if isinstance(row, dict):
            rows.append(row)
        else:
            problems.append(f"{path.name}: line {number} is damaged and was left out")
    return rows, problems


def truncate_jsonl(path: str | Path, keep: Callable[[dict[str, Any]], bool]) -> Problems:
    """Keep only the rows for which ``keep`` is true, atomically; used on resume. A missing file stays missing.

    Returns a sentence for every damaged line, which goes. Raises SetupError when the folder cannot be written.
    """
    path = Path(path)
    if not path.exists():
        return []
    rows, problems = read_jsonl(path)
    replace_bytes(path, b"".join(_dump(row) for row in rows if keep(row)))
    return problems


_FULL = "Free some space (`df -h`) or choose another folder, then run the same command"
_DENIED = ("you have no permission to write there", "Choose another folder or change its owner")
_REASONS = {
    errno.ENOSPC: ("the disk is full", _FULL),
    errno.EDQUOT: ("the disk quota is used up", _FULL),
    errno.EROFS: ("the file system is read-only", "Choose a folder that can be written"),
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.ENOTDIR: ("a part of that path is a file", "Choose another folder"),
    errno.EEXIST: ("a file of that name is in the way", "Choose another folder"),
}


@contextlib.contextmanager
def explained(folder: str | Path) -> Iterator[None]:
    """Turn an OSError from writing into ``folder`` into a SetupError with the cause and what to do."""
    try:
        yield
    except OSError as error:
        cause, advice = _REASONS.get(error.errno or 0, (error.strerror or str(error), "Choose another folder"))
        raise SetupError(f"Cannot write into '{folder}': {cause}. {advice} (--out DIR).") from error


def _sync_folder(folder: Path) -> None:
    # A rename is only durable once the folder is on the disk; systems that cannot sync a folder say so with OSError.
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        handle = os.open(folder, os.O_RDONLY)
        stack.callback(os.close, handle)
        os.fsync(handle)
