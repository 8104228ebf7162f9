"""The motion set as files, and the proof on them: one frame tells nothing about the class, the whole clip tells it."""

from __future__ import annotations

import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kinelite.config import SplitConfig
from kinelite.data.motion_scene import FRAMES, MOTIONS, RATE_HZ, SIZE, attributes, draw_scene, lengthened
from kinelite.data.sets import list_sets, load_set
from kinelite.data.sets.motion import SEED, make_motion, unseen_clips
from kinelite.errors import DataError, SetupError, UsageError

CLIPS = 320


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("motion")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINELITE_CACHE", str(folder))
        yield folder


def read(path: str, wanted: list[int]) -> np.ndarray:
    with av.open(path) as container:
        frames = list(container.decode(video=0))
    return np.stack([frames[index].to_ndarray(format="rgb24") for index in wanted])


def track(frames: np.ndarray) -> np.ndarray:
    """Change per step of x, y, log size (in cycles) and of the angle (in half turns), seen from the pixels alone."""
    states = []
    for frame in frames:
        vivid = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)[..., 1:].min(2) > 120
        ys, xs = (np.argwhere(vivid) + 0.5).T / SIZE if vivid.any() else np.full((2, 1), 0.5)
        centre = [np.angle(np.exp(2j * np.pi * v).mean()) / (2 * np.pi) for v in (xs, ys)]
        dx, dy = ((v - c + 0.5) % 1 - 0.5 for v, c in zip((xs, ys), centre, strict=True))
        slant = np.angle((dx + 1j * dy) ** 2 @ np.ones(len(dx))) / (2 * np.pi)
        states.append([*centre, np.log(len(xs)) / (2 * np.log(2.5)), slant])
    return (np.diff(states, axis=0) + 0.5) % 1 - 0.5


@pytest.fixture(scope="module")
def material(cache: Path) -> SimpleNamespace:
    """Of every clip: its label, one random frame at 32x32, the scene's state in it, and the changes over the clip."""
    manifest = load_set(f"motion:{CLIPS}")
    rng = np.random.default_rng(0)
    labels, pixels, states, changes = [], [], [], []
    for number, row in enumerate(manifest.rows):
        pick = int(rng.integers(FRAMES))
        frame, *frames = read(row.path, [pick, *range(0, FRAMES, 6)])
        scene = draw_scene(manifest.classes[row.labels[0]], np.random.default_rng([SEED, number]))
        labels.append(row.labels[0])
        small = cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        # The fourth channel, how vivid a pixel is, hands the learners the shape on a plate.
        pixels.append(np.dstack([small, 3 * np.ptp(small, axis=2)]).ravel())
        states.append(attributes(scene)[pick])
        steps = track(np.stack(frames))
        changes.append(np.concatenate([np.median(half, axis=0) for half in np.array_split(steps, 2)]))
    return SimpleNamespace(
        labels=np.array(labels), pixels=np.array(pixels), states=np.array(states), changes=np.array(changes)
    )


def accuracy(learner: object, inputs: np.ndarray, labels: np.ndarray) -> float:
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    pipeline = make_pipeline(StandardScaler(), learner)
    return float((cross_val_predict(pipeline, inputs, labels, cv=folds) == labels).mean())


def single_frame_inputs(material: SimpleNamespace) -> dict[str, np.ndarray]:
    circle = 2 * np.pi * material.states
    return {
        "pixels": PCA(40, random_state=0).fit_transform(material.pixels),
        "true state": np.concatenate([np.sin(circle), np.cos(circle)], axis=1),
    }


LEARNERS = {
    "linear": LogisticRegression(C=0.1, max_iter=500),
    "network": MLPClassifier((64,), alpha=1.0, max_iter=400, tol=0.005, random_state=0),
    "neighbours": KNeighborsClassifier(5),
}


@pytest.mark.parametrize("learner", list(LEARNERS))
@pytest.mark.parametrize("view", ["pixels", "true state"])
def test_one_frame_gives_chance(material: SimpleNamespace, view: str, learner: str) -> None:
    reached = accuracy(LEARNERS[learner], single_frame_inputs(material)[view], material.labels)
    chance = 1 / len(MOTIONS)
    # 99.9 % of a binomial lie within 3.29 standard deviations.
    assert abs(reached - chance) < 3.29 * np.sqrt(chance * (1 - chance) / CLIPS)


def test_the_same_learner_does_see_the_frame(material: SimpleNamespace) -> None:
    """Chance above is the set's doing: the same pixels tell where the shape is."""
    centre = (material.states[:, 0] > 0.25) & (material.states[:, 0] < 0.75)
    assert accuracy(LEARNERS["network"], single_frame_inputs(material)["pixels"], centre) > 0.8


def test_the_whole_clip_gives_the_class(material: SimpleNamespace) -> None:
    assert accuracy(LogisticRegression(max_iter=500), material.changes, material.labels) > 0.9


def test_halves_in_the_wrong_order_confuse_just_the_classes_of_order(material: SimpleNamespace) -> None:
    """What the mean over the clip knows leaves only right_then_down and down_then_right to chance."""
    mean = material.changes.reshape(CLIPS, 2, 4).mean(1)
    ordered = np.isin(material.labels, [list(MOTIONS).index(m) for m in ("right_then_down", "down_then_right")])
    assert accuracy(LEARNERS["neighbours"], mean, ordered) > 0.9
    among = accuracy(LEARNERS["neighbours"], mean[ordered], material.labels[ordered])
    assert among < 0.5 + 3.29 * np.sqrt(0.25 / ordered.sum())


def test_counts_and_split(cache: Path) -> None:
    manifest = load_set("motion:83")
    assert manifest.classes == tuple(MOTIONS)
    assert len(manifest.rows) == 83
    assert Counter(row.labels[0] for row in manifest.rows) == {c: 9 if c < 3 else 8 for c in range(10)}
    for split, count in (("train", 63), ("val", 20)):
        rows = manifest.only(split).rows
        assert len(rows) == count
        assert min(Counter(row.labels[0] for row in rows).values()) >= 2
    assert manifest.policy == "lightweight_ssv2"
    assert "every fourth" in manifest.notes[0]


def test_a_smaller_set_is_part_of_a_larger_one_on_the_same_sides(cache: Path) -> None:
    small, large = load_set("motion:83"), load_set(f"motion:{CLIPS}")
    for one, other in zip(small.rows, large.rows, strict=False):
        assert (one.labels, one.split) == (other.labels, other.split)
        assert Path(one.path).read_bytes() == Path(other.path).read_bytes()


def test_the_files_are_h264(cache: Path) -> None:
    for row in load_set("motion:83").rows[::20]:
        with av.open(row.path) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert (stream.width, stream.height, stream.pix_fmt) == (SIZE, SIZE, "yuv420p")
            assert stream.average_rate == RATE_HZ
            times = [float(frame.time) for frame in container.decode(stream)]
        assert times == pytest.approx(np.arange(FRAMES) / RATE_HZ, abs=1e-4)


def test_made_twice_and_by_two_at_once_it_is_the_same(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_set("motion:83")
    monkeypatch.setenv("KINELITE_CACHE", str(tmp_path))
    seen: list[tuple[int, int]] = []
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda note: make_motion(83, note), [lambda *a: seen.append(a), None]))
    assert folders[0] == folders[1]
    assert [folder.name for folder in tmp_path.iterdir()] == [folders[0].name]
    assert seen[-1] == (83, 83)
    for row, again in zip(first.rows, load_set("motion:83").rows, strict=True):
        assert Path(row.path).read_bytes() == Path(again.path).read_bytes()


def test_an_interrupted_generation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINELITE_CACHE", str(tmp_path))

    def interrupt(made: int, clips: int) -> None:
        if made == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_motion(80, interrupt)
    assert list(tmp_path.iterdir()) == []


def test_missing_clips_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_motion(83)
    monkeypatch.setenv("KINELITE_CACHE", str(tmp_path))
    shutil.copytree(folder, tmp_path / folder.name)
    for row in load_set("motion:83").rows[:2]:
        Path(row.path).unlink()
    with pytest.raises(DataError, match=r"2 of 83 clips are gone from .*Delete that folder"):
        load_set("motion:83")


@pytest.mark.parametrize(
    ("spec", "message"),
    [("motion:79", "at least 80"), ("motion:0", "at least 80"), ("motion:-3", "number of clips"),
     ("motion:many", "number of clips"), ("motion:1e3", "number of clips"), ("motion:²", "number of clips"),
     ("motion:80x", "number of clips"), ("motion:80x1", "at least 2 frames")],
)  # fmt: skip
def test_numbers_that_cannot_be(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_set(spec)


def test_longer_clips_move_at_the_same_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINELITE_CACHE", str(tmp_path))
    rows = load_set("motion:80x96").rows
    frames = read(rows[0].path, list(range(96)))
    assert len(rows) == 80
    assert len(frames) == 96
    short = draw_scene(next(iter(MOTIONS)), np.random.default_rng(0))
    long = lengthened(short, 96)
    # The first half of either clip moves along one attribute: as far per frame in the long one.
    near, far = (attributes(scene, count)[:20] for scene, count in ((short, FRAMES), (long, 96)))
    assert far == pytest.approx(near)


def test_split_options_are_refused_not_ignored() -> None:
    with pytest.raises(UsageError, match="brings its own split"):
        load_set("motion:80", SplitConfig(val_fraction=0.5))


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KINELITE_CACHE", str(tmp_path / "file"))
    with pytest.raises(SetupError, match=r"file.*KINELITE_CACHE="):
        load_set("motion:80")


def test_the_set_is_listed() -> None:
    card = list_sets()["motion"]
    assert card.spec == "motion[:N[xF]]"
    assert "10 classes" in card.summary


def test_unseen_clips_are_in_no_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINELITE_CACHE", str(tmp_path))
    paths, labels = unseen_clips(4)
    assert len(set(labels)) == 4
    known = {path.read_bytes() for path in make_motion(80).rglob("*.mp4")}
    assert all(path.read_bytes() not in known for path in paths)
    assert unseen_clips(4) == (paths, labels)
