"""What is kept is dropped when the code that made it changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinelite import cache


def test_the_digest_of_code_follows_names_and_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "cache.py"))
    (tmp_path / "models").mkdir()
    (tmp_path / "other").mkdir()
    file = tmp_path / "models" / "a.py"

    def digest() -> str:
        cache.code_of.cache_clear()
        return cache.code_of("models")

    seen = []
    for text in ("x = 1", "x = 2"):
        file.write_text(text)
        seen.append(digest())
    file.rename(file.with_name("b.py"))
    seen.append(digest())
    assert len(set(seen)) == 3
    (tmp_path / "other" / "c.py").write_text("y = 1")
    assert digest() == seen[-1]
    cache.code_of.cache_clear()
