"""Which frame answers which wanted time, while frames come by in presentation order; conversion to RGB."""

from __future__ import annotations

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from jaxtyping import Float64, UInt8

from kinelite.data.clip import ClipInfo, shrunk
from kinelite.data.readers.probe import display
from kinelite.data.sink import Sink
from kinelite.data.stages import stage


class Picker:
    """Gives each wanted time its frame while frames come by in presentation order, and the sink those frames."""

    def __init__(self, info: ClipInfo, times_s: Float64[np.ndarray, " t"], short_side: int | None, sink: Sink) -> None:
        self.info, self.short_side, self.sink = info, short_side, sink
        self.order = np.argsort(times_s, kind="stable")
        self.pts_s = np.zeros(len(times_s))
        # Up to a quarter of a frame early is still that frame: times are rounded, to milliseconds in Matroska.
        self.times_s = times_s[self.order] + min(1e-3, 0.25 * info.period_s)
        self.size: tuple[int, int] | None = None
        """Height and width of what the sink gets: those of the first frame."""
        self.restart()
        # One for all frames, on one thread: a frame's own to_ndarray(format=...) sets the conversion up anew each time
        # and wakes a thread per core for it, which took a hundred times as long for small frames.
        self._reformatter = VideoReformatter()
        self._rotation: int | None = None
        self._display = (False, False, False)

    def restart(self) -> None:
        """Begin again with the first time."""
        self._answered(0)
        if self.size is not None:
            self.sink.begin(len(self.order), *self.size)

    def _answered(self, upto: int) -> None:
        self.done = upto
        self.next_s = float(self.times_s[upto]) if upto < len(self.times_s) else np.inf
        """The earliest time that has no frame yet; infinite when all have one."""

    def give(self, frame: VideoFrame, shown_s: float, until_s: float) -> None:
        """``frame``, shown from ``shown_s``, is what is on display until ``until_s``."""
        upto = int(np.searchsorted(self.times_s, until_s, side="left"))
        if upto <= self.done:
            return
        with stage("convert"):
            rgb = self._rgb(frame)
            if self.size is None:
                self.size = rgb.shape[0], rgb.shape[1]
                self.sink.begin(len(self.order), *self.size)
            places = self.order[self.done : upto]
            self.sink.put(places, rgb)
        self.pts_s[places] = shown_s
        self._answered(upto)

    def wanted(self) -> dict[int, float] | None:
        """Frames that will be taken, by time stamp (by place when counted), and until when each is on display.

        None where that is not known beforehand.
        """
        info = self.info
        if info.counted:
            places = np.maximum(np.floor((self.times_s - info.start_s) * info.fps), 0.0)
            # Multiplied and divided, a time may have crossed the border of a frame.
            places += (info.start_s + (places + 1) / info.fps <= self.times_s).astype(np.float64)
            places -= (places > 0) & (info.start_s + places / info.fps > self.times_s)
            return {place: info.start_s + (place + 1) / info.fps for place in map(int, np.unique(places).tolist())}
        if info.pts is None:
            return None
        shown_s = info.pts * float(info.time_base)
        places = np.unique(np.maximum(np.searchsorted(shown_s, self.times_s, side="right") - 1, 0))
        return dict(zip(info.pts[places].tolist(), np.append(shown_s, np.inf)[places + 1].tolist(), strict=True))

    def _rgb(self, frame: VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
        if frame.rotation != self._rotation:
            self._rotation, self._display = frame.rotation, display(frame)
        swap, vertical, horizontal = self._display
        if self.size is None:
            height, width = shrunk(frame.height, frame.width, self.short_side)
        else:  # a stream that changes its size is brought to the size it began with
            height, width = self.size[::-1] if swap else self.size
        same = (height, width) == (frame.height, frame.width)
        resize = {} if same else {"width": width, "height": height, "interpolation": "AREA"}
        image = self._reformatter.reformat(frame, format="rgb24", threads=1, **resize).to_ndarray()
        image = image.swapaxes(0, 1) if swap else image
        return image[:: -1 if vertical else 1, :: -1 if horizontal else 1]
