"""Exit codes, and what the error for an unknown name says."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinelite.errors import KINELITE_ERRORS, DataError, RunError, SetupError, UsageError, neighbours, unknown


def test_exit_codes_are_those_of_the_design() -> None:
    codes = {kind: kind.exit_code for kind in KINELITE_ERRORS}
    assert codes == {RunError: 1, UsageError: 2, SetupError: 3, DataError: 4}


def test_from_python_they_are_ordinary_errors() -> None:
    assert issubclass(UsageError, ValueError)
    assert issubclass(DataError, ValueError)
    assert issubclass(SetupError, RuntimeError)
    assert issubclass(RunError, RuntimeError)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("vivit_fe_tiny", "Nearest: vivit_fe_ti"), ("zzzz", "Known: vivit_fe_s, vivit_fe_ti, x3d")],
)
def test_an_unknown_name_is_answered_with_the_nearest_or_all(given: str, expected: str) -> None:
    text = str(unknown("model", given, ["x3d", "vivit_fe_ti", "vivit_fe_s"], "kinelite list models"))
    assert text.startswith(f"Unknown model '{given}'. {expected}")
    assert text.endswith("All of them: kinelite list models")


def test_a_missing_path_is_answered_with_what_lies_beside_it(tmp_path: Path) -> None:
    for name in ("motion-32", "motion-128", ".hidden"):
        (tmp_path / name).mkdir()
    said = neighbours(tmp_path / "motoin-32")
    assert said == f"In '{tmp_path}' there are: motion-128, motion-32. Nearest: motion-32."
    assert neighbours(tmp_path / "motion-32" / "x") == f"In '{tmp_path / 'motion-32'}' there are: no files."
    assert neighbours(tmp_path / "no" / "x") == f"Its parent '{tmp_path / 'no'}' is missing as well."


def test_a_parent_that_is_a_file_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    assert "cannot be listed" in neighbours(tmp_path / "clip.mp4" / "x")
