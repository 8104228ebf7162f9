"""Training, evaluation and prediction from Python, under the names of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kinelite.config import TrainConfig
from kinelite.records import EvalRecord, TrainRecord
from kinelite.train.assess import assess
from kinelite.train.predict import Prediction
from kinelite.train.predict import predict as predict_clips
from kinelite.train.run import train as run_training
from kinelite.train.trained import Trained, load_trained


@dataclass(frozen=True)
class Run:
    """A finished run: its folder and its record."""

    folder: Path
    record: TrainRecord


def train(config: TrainConfig) -> Run:
    """Run a config to its end, or continue the unfinished run in ``config.out``.

    Raises what ends the command line with a sentence: UsageError, SetupError, DataError, RunError.
    """
    return Run(Path(config.out), run_training(config))


def evaluate(
    run: Run | str | Path,
    data: str | None = None,
    *,
    views: tuple[int, int] = (1, 1),
    on: str = "val",
    device: str = "auto",
) -> EvalRecord:
    """Score a run on a split of a set (default: the one that it was trained on), ``views`` temporal x spatial."""
    return assess(_folder(run), data=data, views=views, on=on, device=device)


def predict(
    run: Run | str | Path,
    clips: Sequence[str | Path],
    *,
    top: int = 5,
    views: tuple[int, int] = (1, 1),
    device: str = "auto",
) -> list[Prediction]:
    """The ``top`` labels of files, folders and patterns."""
    return predict_clips(_folder(run), clips, top=top, views=views, device=device)


def load(run: Run | str | Path, device: str = "cpu") -> Trained:
    """The trained model of a run with its class names and input specification."""
    return load_trained(_folder(run), device)


def _folder(run: Run | str | Path) -> str | Path:
    return run.folder if isinstance(run, Run) else run
