"""What all tests share: no hub, a cache of their own, tiny sets of real clips."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest

# Nothing here may wait for a hub that is not there; two test processes share two cores.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_finish() -> None:
    """What was imported stays: the search for cycles need not go through it each time (6 % of the planner's tests)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips and weights beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("the real clips and weights (../shared) are not there")
    return SHARED


@pytest.fixture(scope="session")
def plan_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder for tests that plan: what one has traced, the next reads, in whatever process of this run."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "plan-cache"


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ROOT/class/clip with two classes of six H.264 clips: a square that goes right, or down. Do not write into it."""
    from kinelite.data.motion_scene import draw_scene, encode, render

    root = tmp_path_factory.mktemp("clips")
    for motion in ("moves_right", "moves_down"):
        (root / motion).mkdir()
        for number in range(6):
            scene = draw_scene(motion, np.random.default_rng(number))
            (root / motion / f"{number}.mp4").write_bytes(encode(render(scene, frames=12, size=32)))
    return root
