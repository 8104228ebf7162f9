"""Who may import whom: types, config, records, errors <- models, data <- train <- commands; report reads records."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "kinelite"
BASE = {"types", "errors", "config", "records", "ranks"}
# Room (first word below kinelite) -> rooms that it may import beside itself.
ALLOWED = {
    "types": set(),
    "errors": set(),
    "config": {"types", "errors"},
    "limits": {"config", "errors"},
    "ranks": {"errors", "records"},
    "records": {"errors"},
    "lock": {"errors", "records"},
    "cache": {"errors"},
    "recipes": {"config", "errors"},
    "models": BASE | {"lock", "cache"},
    "data": BASE | {"lock", "cache"},
    "report": {"records", "errors", "config"},
    "doctor": BASE | {"data"},
    "train": BASE | {"limits", "lock", "models", "data"},
    "plan": BASE | {"cache", "limits", "recipes", "models", "data", "train"},
    "export": BASE | {"models", "data", "train"},
    "bench": BASE | {"cache", "models", "data", "train", "plan", "export"},
    "cli": {"errors", "ranks", ""},
    "__main__": {"cli"},
    "commands": BASE | {"cli", "recipes", "models", "data", "train", "plan", "bench", "export", "report", "doctor"},
    "": {"recipes", "models", "data", "report", "train", "plan", "bench", "export"},
}
# What a room may import besides, in one file and late: the trainer asks the planner how many clips have room.
LATE = {("train/micro.py", "plan"), ("train/predict.py", "export")}
HEAVY = {"torch", "cv2", "av", "matplotlib", "timm", "torchmetrics", "lightning_fabric"}
LIGHT_ROOMS = {"types", "errors", "config", "limits", "ranks", "records", "recipes", "cli", "__main__", "", "doctor"}


def room(file: Path) -> str:
    """The first word below kinelite; '' for the package itself."""
    first = file.relative_to(SOURCE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imported(tree: ast.AST) -> set[str]:
    """Full names of all that is imported anywhere in a file."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "imports are absolute"
            # 'from kinelite import records' names a module, 'from kinelite.records import x' an object.
            names = {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "kinelite" else set()
            found |= names or {node.module}
    return found


def at_import_time(tree: ast.Module) -> ast.Module:
    """Only what runs when the file is imported: no function bodies, nothing for type checkers alone."""
    body = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        body.append(node)
    return ast.Module(body, [])


FILES = sorted(SOURCE.rglob("*.py"))


def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(SOURCE).as_posix())
def test_rooms_import_only_what_lies_below_them(file: Path) -> None:
    here = room(file)
    assert here in ALLOWED, f"'{here}' is new: say in this test what it may import"
    for name in imported(parsed(file)):
        if name != "kinelite" and not name.startswith("kinelite."):
            continue
        there = [*name.split("."), ""][1]
        there = "" if there == "__version__" else there
        late = (file.relative_to(SOURCE).as_posix(), there) in LATE
        assert late or there == here or there in ALLOWED[here], f"{here} must not import {name}"
        assert not late or name not in imported(at_import_time(parsed(file))), f"{name} must be imported late"


def test_models_and_data_do_not_know_each_other() -> None:
    assert "data" not in ALLOWED["models"]
    assert "models" not in ALLOWED["data"]


@pytest.mark.parametrize(
    "file", [f for f in FILES if room(f) in LIGHT_ROOMS], ids=lambda f: f.relative_to(SOURCE).as_posix()
)
def test_light_files_import_nothing_heavy_at_the_top(file: Path) -> None:
    assert not {name.split(".")[0] for name in imported(at_import_time(parsed(file)))} & HEAVY


@pytest.mark.parametrize("file", [f for f in FILES if room(f) == "commands"], ids=lambda f: f.stem)
def test_a_verb_imports_its_work_only_when_it_is_called(file: Path) -> None:
    names = imported(at_import_time(parsed(file)))
    assert not {name.split(".")[0] for name in names} & HEAVY
    rooms = {name.split(".")[1] for name in names if name.startswith("kinelite.")}
    assert rooms <= {"cli", "config", "errors", "ranks", "recipes", "records", "commands"}


def test_reports_are_made_without_torch_or_a_decoder(tmp_path: Path) -> None:
    for file in (f for f in FILES if room(f) == "report"):
        roots = {name.split(".")[0] for name in imported(parsed(file))}
        assert not roots & (HEAVY - {"matplotlib"}), file
    code = (
        "import sys, kinelite.report.page, kinelite.report.figures, kinelite.report.tables\n"
        "print(*[m for m in ('torch', 'av', 'cv2', 'timm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_plan_is_made_without_fabric() -> None:
    code = (
        "import sys, io, contextlib\nfrom kinelite.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    assert main(['plan', 'vivit_fe_nano', '--gpu-memory', '12GiB']) == 0\n"
        "print(*[m for m in ('lightning_fabric', 'torchmetrics', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
