"""H.264 of prepared clips, packet by packet: no container to open, and decoding starts wherever a group begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8

from kinelite.data.clip import ClipError
from kinelite.errors import SetupError

_OPTIONS = {
    # fastdecode leaves out the deblocking filter and arithmetic coding, a third of the decoding time; psnr turns off
    # the tricks that please eyes and cost bytes. Slower presets were no smaller here.
    "preset": "veryfast",
    "tune": "psnr,fastdecode",
    "bf": "0",
    "sc_threshold": "0",
    "forced-idr": "1",
    # Its assembly reads beyond small frames, so that the same frames gave other bytes every now and then.
    "x264-params": "mbtree=0",
}


class PacketEncoder:
    """RGB frames -> one H.264 packet each, in order. Every ``gop``-th starts afresh."""

    def __init__(self, height: int, width: int, quality: int, gop: int) -> None:
        try:
            context = av.CodecContext.create("libx264", "w")
        except UnknownCodecError as error:
            raise SetupError("PyAV was built without libx264. Choose another --format, such as jpeg.") from error
        assert isinstance(context, VideoCodecContext)
        context.width, context.height = width + width % 2, height + height % 2
        context.pix_fmt, context.time_base = "yuv420p", Fraction(1, 25)
        context.gop_size, context.thread_count = gop, 1
        context.options = {**_OPTIONS, "crf": str(quality)}
        self.context, self.gop, self.count = context, gop, 0
        self._reformatter = VideoReformatter()

    def add(self, frame: UInt8[np.ndarray, "h w 3"]) -> Iterator[bytes]:
        """Packets that are ready, in order; the encoder looks some frames ahead."""
        picture = VideoFrame.from_ndarray(even(frame), format="rgb24")
        picture = self._reformatter.reformat(picture, format="yuv420p", threads=1)
        picture.pts = self.count
        picture.pict_type = PictureType.I if self.count % self.gop == 0 else PictureType.P
        self.count += 1
        yield from map(bytes, self.context.encode(picture))

    def finish(self) -> Iterator[bytes]:
        yield from map(bytes, self.context.encode(None))


def even(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "tall wide 3"]:
    """The frame with its last row and column repeated where a side is odd: chroma has half the resolution."""
    height, width = frame.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return np.ascontiguousarray(frame)
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def decode_packets(
    read: Callable[[int], bytes], path: str, gop: int, wanted: list[int], size: tuple[int, int]
) -> Iterator[tuple[int, UInt8[np.ndarray, "h w 3"]]]:
    """The frames ``wanted`` (increasing), of ``size`` height x width; ``read`` gives the packet of a frame.

    Raises ClipError.
    """
    context = av.CodecContext.create("h264", "r")
    assert isinstance(context, VideoCodecContext)
    context.thread_type, context.thread_count = "NONE", 1
    reformatter = VideoReformatter()
    height, width = size
    missing = set(wanted)
    try:
        for frame in _decoded(context, read, _needed(wanted, gop)):
            if frame.pts not in missing:
                continue
            missing.remove(frame.pts)
            if (frame.height, frame.width) != (height + height % 2, width + width % 2):
                raise ClipError(path, f"frame {frame.pts} has another size than the header announces")
            yield frame.pts, reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()[:height, :width]
    except FFmpegError as error:
        raise ClipError(path, f"cannot be decoded ({error.strerror or error})") from error
    if missing:
        raise ClipError(path, f"is damaged: {len(missing)} frames cannot be decoded")


def _needed(wanted: list[int], gop: int) -> Iterator[int]:
    """The frames to decode: from the beginning of each group up to the last wanted one of it."""
    done = -1
    for number in wanted:
        yield from range(max(number - number % gop, done + 1), number + 1)
        done = number


def _decoded(context: VideoCodecContext, read: Callable[[int], bytes], numbers: Iterator[int]) -> Iterator[VideoFrame]:
    for number in numbers:
        packet = av.Packet(read(number))
        packet.pts = number
        yield from context.decode(packet)
    yield from context.decode(None)
