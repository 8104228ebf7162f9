"""The decoder of a run: settled once, kept for the same question and for no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kinelite.config import ClipConfig, TrainConfig
from kinelite.data.choose_decoder import Choice
from kinelite.data.sets import load_set
from kinelite.train import decoder
from kinelite.train.decoder import with_decoder
from kinelite.train.log import RunLog


@pytest.fixture
def settle(
    quick: Callable[..., TrainConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[str, int]]:
    """The decoder for given fields, and how often it was measured so far; 'auto' finds TorchCodec the faster one."""
    asked: list[str] = []

    def choose(name: str, *_: object) -> Choice:
        asked.append(name)
        return Choice("torchcodec" if name == "auto" else name, "because")  # type: ignore[arg-type]

    monkeypatch.setattr(decoder, "choose_decoder", choose)

    def settled(name: str, clips: int = 12, **fields: object) -> tuple[str, int]:
        config = quick(out=tmp_path, clips=ClipConfig(decoder=name), **fields).resolved()  # type: ignore[arg-type]
        rows = load_set(config.data)
        training = replace(rows, rows=rows.rows[:clips])
        return with_decoder(config, training, RunLog(tmp_path / "metrics.jsonl")).clips.decoder, len(asked)

    return settled


def test_a_continued_run_keeps_its_decoder(settle: Callable[..., tuple[str, int]]) -> None:
    assert settle("auto") == ("torchcodec", 1)
    assert settle("auto") == ("torchcodec", 1)


def test_what_an_earlier_command_settled_does_not_hold_for_another_question(
    settle: Callable[..., tuple[str, int]],
) -> None:
    assert settle("auto") == ("torchcodec", 1)
    assert settle("pyav") == ("pyav", 2)
    assert settle("auto") == ("torchcodec", 3)
    assert settle("auto", frames=8) == ("torchcodec", 4)
    assert settle("auto", frames=8, clips=7) == ("torchcodec", 5)


@pytest.mark.parametrize("text", ["{", "[]", "", '{"name": "pyav"}', None])
def test_a_damaged_note_is_settled_anew(
    settle: Callable[..., tuple[str, int]], tmp_path: Path, text: str | None
) -> None:
    settle("auto")
    path = tmp_path / "decoder.json"
    kept = json.loads(path.read_text())
    path.write_text(json.dumps(kept | {"name": "nothing"}) if text is None else text)
    assert settle("auto") == ("torchcodec", 2)
