"""Input pipelines that others write with well-known libraries, for comparison in the same run.

Each reads the same moments of the same clips under the same augmentation policy, one thread per process, through
PyTorch's DataLoader. Decoders have their own fastest setting; augmentation is torchvision's v2 on uint8 tensors.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kinelite.data.augment import Policy, policy
from kinelite.data.dataset import Reading
from kinelite.data.decode import reader
from kinelite.data.manifest import Row
from kinelite.data.readers import torchcodec_reader, video
from kinelite.data.sampling import sparse_times
from kinelite.data.stages import stage, take_seconds
from kinelite.errors import DataError

Frames = UInt8[Tensor, "t c h w"]
VIDEO_READERS = (video, torchcodec_reader)
Decode = Callable[[Row, int, np.random.Generator], Frames]


KNOWN = ("hflip", "vflip", "degrees", "translate", "scale", "shear", "brightness", "contrast", "saturation", "hue")
KNOWN += ("erase_p", "erase_scale", "erase_ratio")
"""What `transforms` knows of a policy."""


def untranslated(settings: Policy) -> list[str]:
    """Fields of a policy that change something and have no counterpart in `transforms`."""
    plain = Policy()
    changed = (f.name for f in fields(Policy) if getattr(settings, f.name) != getattr(plain, f.name))
    return [name for name in changed if name not in KNOWN]


def transforms(settings: Policy, size: int) -> Any:
    """torchvision's own transforms for a policy of appendix B (*Evaluating Transformers ...*), in its order."""
    v2 = importlib.import_module("torchvision.transforms.v2")
    steps = [v2.Resize((size, size), antialias=True)]
    steps += [v2.RandomHorizontalFlip(settings.hflip)] if settings.hflip else []
    steps += [v2.RandomVerticalFlip(settings.vflip)] if settings.vflip else []
    translate = (settings.translate, settings.translate)
    if settings.degrees or settings.translate or settings.shear or settings.scale != (1.0, 1.0):
        steps.append(v2.RandomAffine(settings.degrees, translate, settings.scale, settings.shear))
    colour = (settings.brightness, settings.contrast, settings.saturation, settings.hue)
    steps += [v2.ColorJitter(*colour)] if any(colour) else []
    if settings.erase_p:
        steps.append(v2.RandomErasing(settings.erase_p, settings.erase_scale, settings.erase_ratio))
    return v2.Compose(steps)


def torchcodec_frames(row: Row, frames: int, rng: np.random.Generator, *, exact: bool = False) -> Frames:
    """TorchCodec. ``exact`` scans the file for its true length first; otherwise the header is believed."""
    decoders = importlib.import_module("torchcodec.decoders")
    with stage("open"):
        mode = "exact" if exact else "approximate"
        decoder = decoders.VideoDecoder(row.path, num_ffmpeg_threads=1, seek_mode=mode)
        start_s, end_s = decoder.metadata.begin_stream_seconds or 0.0, decoder.metadata.end_stream_seconds
    with stage("decode"):
        times = sparse_times(max(start_s, row.start_s or 0.0), min(end_s, row.end_s or end_s), frames, rng)
        return decoder.get_frames_played_at(seconds=times.clip(start_s, end_s - 1e-3).tolist()).data


def torchcodec_rows(rows: Sequence[Row], *, exact: bool = False) -> list[Row]:
    """The rows, ending where TorchCodec can still read: in AVI with reordered frames it counts more than there are.

    Raises DataError naming a clip that it cannot open.
    """
    decoders = importlib.import_module("torchcodec.decoders")
    found = []
    for row in rows:
        mode = "exact" if exact else "approximate"
        try:
            decoder = decoders.VideoDecoder(row.path, num_ffmpeg_threads=1, seek_mode=mode)
            end_s, period_s = decoder.metadata.end_stream_seconds, 1 / decoder.metadata.average_fps
        except Exception as error:
            raise _unreadable(row, "torchcodec", error) from error
        for early in range(20):
            try:
                decoder.get_frame_played_at(end_s - early * period_s - 1e-3)
            except (IndexError, RuntimeError):
                continue
            last_s = end_s - early * period_s
            found.append(row if not early else replace(row, end_s=min(last_s, row.end_s or last_s)))
            break
        else:
            raise DataError(f"{row.path}: TorchCodec reads no frame of its last second. Leave it out, or this peer.")
    return found


def decord_frames(row: Row, frames: int, rng: np.random.Generator) -> Frames:
    """decord, at its own frame rate."""
    decord = importlib.import_module("decord")
    with stage("open"):
        reader = decord.VideoReader(row.path, num_threads=1)
        fps = reader.get_avg_fps()
    with stage("decode"):
        times = sparse_times(row.start_s or 0.0, row.end_s or len(reader) / fps, frames, rng)
        indices = np.minimum((times * fps).astype(int), len(reader) - 1)
        return torch.from_numpy(reader.get_batch(indices).asnumpy()).permute(0, 3, 1, 2)


def _torchcodec_exact(row: Row, frames: int, rng: np.random.Generator) -> Frames:
    return torchcodec_frames(row, frames, rng, exact=True)


PEERS: dict[str, tuple[str, Decode]] = {
    "torchcodec": ("torchcodec.decoders", torchcodec_frames),
    "torchcodec-exact": ("torchcodec.decoders", _torchcodec_exact),
    "decord": ("decord", decord_frames),
}
"""Pipeline -> (module that it needs, how it decodes)."""


def _unreadable(row: Row, name: str, error: Exception) -> DataError:
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return DataError(f"{row.path}: {name} cannot read it ({said}). Leave it out, or this peer: see --peers")


def unsuited(rows: Sequence[Row], reading: Reading) -> str | None:
    """Why no peer can do the same work; None when they can."""
    others = [row.path for row in rows if reader(row.path) not in VIDEO_READERS]
    if others:
        return f"it reads video files, and {len(others)} of {len(rows)} clips are none, such as {others[0]}"
    unknown = untranslated(policy(reading.policy or "none"))
    if unknown:
        return f"policy {reading.policy} has no counterpart in torchvision.transforms.v2 ({', '.join(unknown)})"
    return None


def missing(name: str) -> str | None:
    """Why a peer cannot run here; None when it can."""
    try:
        importlib.import_module(PEERS[name][0])
    except (ImportError, OSError, RuntimeError) as error:
        return f"{PEERS[name][0]} cannot be imported ({str(error).strip().splitlines()[0]})"
    return None


@dataclass
class PeerClips(Dataset):
    """Clips of rows as [c, t, h, w] tensors of uint8; what cannot be read raises DataError."""

    rows: Sequence[Row]
    reading: Reading
    name: str

    def __post_init__(self) -> None:
        self.transform = transforms(policy(self.reading.policy or "none"), self.reading.spec.size)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> UInt8[Tensor, "c t h w"]:
        row = self.rows[index]
        try:
            frames = PEERS[self.name][1](row, self.reading.spec.frames, np.random.default_rng())
        except Exception as error:  # each library has errors of its own
            raise _unreadable(row, self.name, error) from error
        with stage("augment"):
            return self.transform(frames).permute(1, 0, 2, 3)


@dataclass
class PeerPipeline:
    """One of `PEERS` over rows."""

    name: str
    rows: Sequence[Row]
    reading: Reading
    workers: int
    batch: int

    def __post_init__(self) -> None:
        rows = self.rows
        if self.name.startswith("torchcodec"):
            rows = torchcodec_rows(rows, exact=self.name.endswith("exact"))
        self.clips = PeerClips(rows, self.reading, self.name)
        self.order: list[int] = []
        # One worker process lives through all rounds, as in training; it re-reads the order at each epoch.
        self.loader = DataLoader(
            self.clips,
            self.batch,
            sampler=_Order(self.order),
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )

    def epoch(self, order: Sequence[int]) -> Iterator[int]:
        """Read the clips of ``order``; yields how many each batch holds."""
        self.order[:] = order
        try:
            for frames in self.loader:
                yield len(frames)
        except DataError as error:
            # A worker's error comes with its traceback for a message.
            raise DataError(str(error).strip().splitlines()[-1].split("DataError: ")[-1]) from None

    def stages_s(self, order: Sequence[int]) -> dict[str, float]:
        """Seconds per stage for reading ``order`` in this process, one clip after the other."""
        take_seconds()
        batch = [self.clips[index] for index in order]
        with stage("collate"):
            torch.stack(batch)
        return take_seconds()

    def close(self) -> None:
        """Nothing stays open beside the loader's workers, which end with it."""


@dataclass
class _Order(torch.utils.data.Sampler):
    order: list[int]

    def __iter__(self) -> Iterator[int]:
        return iter(list(self.order))

    def __len__(self) -> int:
        return len(self.order)
