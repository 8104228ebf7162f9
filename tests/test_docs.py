"""README and pages: every command parses, every flag, file, link and Python name is there."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import kinelite
from kinelite.cli import VERBS, parse
from kinelite.config import Stage, TrainConfig
from kinelite.errors import KINELITE_ERRORS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)
TO_BE_WRITTEN = {"src/kinelite/models/dinov2.py"}
"""Files that a page asks the reader to make."""

pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


class Parsed(Exception):
    """The command line was understood; nothing is to be run."""


def fenced(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def spans(text: str) -> list[str]:
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def commands(text: str) -> Iterator[list[str]]:
    """Words after ``kinelite`` of every command in a code block or span."""
    lines = re.findall(r"^    (?:\S*/)?kinelite (.+)$", text, re.MULTILINE)
    for command in lines + [span.removeprefix("kinelite ") for span in spans(text) if span.startswith("kinelite ")]:
        yield shlex.split(command, comments=True)


def is_mention(words: list[str]) -> bool:
    """A verb named in prose, with its second word at most."""
    second = {
        "data": ("check", "stats", "prepare"),
        "features": ("make", "check", "export"),
        "list": ("models", "datasets", "recipes", "policies"),
        "bench": ("input",),
    }
    return len(words) == 1 or (len(words) == 2 and words[1] in second.get(words[0], kinelite.recipes.RECIPES))


def modules(verb: str) -> list[ModuleType]:
    """The module of a verb and those of its actions (data_.py, data_check.py, ...)."""
    files = sorted(Path(kinelite.__file__).parent.glob(f"commands/{verb}_*.py"))
    return [importlib.import_module(f"kinelite.commands.{file.stem}") for file in files]


def understand(words: list[str], monkeypatch: pytest.MonkeyPatch, mentions: bool = True) -> None:
    """Run a verb up to the point where its arguments are parsed. Raises what the verb raises for a mistake."""
    if words in (["--help"], ["--version"]):
        return
    assert words[0] in VERBS, f"no verb {words[0]}"
    if mentions and is_mention(words):
        return
    module = importlib.import_module(f"kinelite.commands.{words[0]}_")

    def stop(*args: Any, **options: Any) -> None:
        parse(*args, **options)
        raise Parsed

    for part in modules(words[0]):
        monkeypatch.setattr(part, "parse", stop, raising=False)
    try:
        module.main([word for word in words[1:] if word != "--json"])
    except Parsed:
        return
    except SystemExit as end:
        if end.code:
            raise AssertionError(f"does not parse: kinelite {shlex.join(words)}") from end


@pages
def test_every_command_parses(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in commands(page.read_text(encoding="utf-8")):
        understand(words, monkeypatch)


@pytest.mark.parametrize(
    "line", ["trian sfa", "train sfaa --data motion", "train sfa --modle x", "eval", "data look x"]
)
def test_a_wrong_command_does_not_parse(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(line)
    with pytest.raises((AssertionError, *KINELITE_ERRORS)):
        understand(words, monkeypatch, mentions=False)


def test_readme_shows_every_verb() -> None:
    shown = {words[0] for words in commands((ROOT / "README.md").read_text(encoding="utf-8"))}
    assert shown >= {"demo", "train", "eval", "predict", "recommend", "report", "data", "info", "doctor"}


def flags_of(kind: Any, prefix: str = "--") -> set[str]:
    found = set()
    for field in dataclasses.fields(kind):
        name = prefix + field.name.replace("_", "-")
        made = field.default_factory() if field.default_factory is not dataclasses.MISSING else None
        found.add(name)
        if dataclasses.is_dataclass(made):
            found |= flags_of(made, f"{name}.")
    return found


def all_flags() -> set[str]:
    found = {"--json", "--help", "--version", "--config"} | flags_of(TrainConfig)
    for number in (0, 1):
        found |= flags_of(Stage, f"--stages.{number}.")
    for kind in (kind for verb in VERBS for module in modules(verb) for kind in vars(module).values()):
        if inspect.isclass(kind) and kind.__name__.endswith("Flags"):
            found |= flags_of(kind)
    return found


@pages
def test_every_flag_exists(page: Path) -> None:
    prose = " ".join(span for span in spans(page.read_text(encoding="utf-8")) if span.startswith("--"))
    assert set(re.findall(r"(?<!\S)--[a-z][\w.-]*", prose)) <= all_flags()


def test_training_page_names_every_everyday_flag_with_its_default() -> None:
    page = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `--([\w-]+)` \| (.*?) ?\| ", page, re.MULTILINE))
    plain = {f.name.replace("_", "-"): f.default for f in dataclasses.fields(TrainConfig) if f.name not in ("recipe",)}
    plain = {name: value for name, value in plain.items() if isinstance(value, str | int | float | Path | None)}
    told = {name: "" if value == "the model's" else value for name, value in rows.items()}
    assert told == {name: "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
                    for name, value in plain.items()}  # fmt: skip


@pages
def test_links_and_paths_resolve(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target
    for span in spans(text):
        if re.fullmatch(r"(src|docs|tests)/[\w/.-]+", span) and span not in TO_BE_WRITTEN:
            assert (ROOT / span).exists(), span


def tree() -> list[str]:
    """Paths of the README's tree."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## The repository")[2].partition("\n## ")[0]
    parents: list[tuple[int, str]] = []
    found = []
    for line in re.findall(r"^    ( *\S.*)$", text, re.MULTILINE):
        indent = len(line) - len(line.lstrip())
        parents = [(depth, name) for depth, name in parents if depth < indent]
        names = re.split(r"\s{2,}", line.strip())[0].split()
        found += ["".join(name for _, name in parents) + name for name in names]
        if names[-1].endswith("/"):
            parents.append((indent, names[-1]))
    return found


def test_the_tree_is_the_repository() -> None:
    listed = tree()
    assert [path for path in listed if not (ROOT / path).exists()] == []
    package = ROOT / "src/kinelite"
    rooms = [p for p in package.iterdir() if (p.is_dir() or p.suffix == ".py") and not p.name.startswith("_")]
    assert [p.name for p in rooms if not any(path.startswith(f"src/kinelite/{p.name}") for path in listed)] == []


def test_readme_keeps_the_places_of_its_tables() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("<!-- results:demo -->") == text.count("<!-- results:ut-interaction -->") == 1


def called(code: ast.Module) -> Iterator[tuple[Callable[..., Any], ast.Call]]:
    """Calls of kl.NAME, of kl.recipes.NAME and of what is imported from kinelite, errors left out."""
    names: dict[str, Any] = {}
    for node in ast.walk(code):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kinelite"):
            module = importlib.import_module(str(node.module))
            names |= {alias.name: getattr(module, alias.name) for alias in node.names}
    for node in ast.walk(code):
        if isinstance(node, ast.Call):
            words = ast.unparse(node.func).split(".")
            found: Any = kinelite if words[0] == "kl" else names.get(words[0])
            if found is None or (inspect.isclass(found) and issubclass(found, Exception)):
                continue
            for word in words[1:]:
                found = getattr(found, word)
            yield found, node


def makes_config(function: Callable[..., Any]) -> bool:
    return function in (TrainConfig, Stage, *kinelite.recipes.RECIPES.values())


@pages
def test_python_calls_what_there_is(page: Path) -> None:
    for block in fenced(page.read_text(encoding="utf-8")):
        code = ast.parse(block)
        for function, call in called(code):
            keywords = {word.arg: None for word in call.keywords if word.arg}
            inspect.signature(function).bind(*call.args, **keywords)


@pages
def test_python_makes_configs_of_the_right_types(page: Path) -> None:
    for block in fenced(page.read_text(encoding="utf-8")):
        code = ast.parse(block)
        names: dict[str, Any] = {}
        for line in code.body:
            calls = list(called(ast.Module([*(s for s in code.body if isinstance(s, ast.ImportFrom)), line], [])))
            if isinstance(line, ast.Import | ast.ImportFrom) or (
                isinstance(line, ast.Assign) and all(makes_config(function) for function, _ in calls)
            ):
                exec(compile(ast.Module([line], []), page.name, "exec"), names)
            for function, call in calls:
                if makes_config(function):
                    eval(compile(ast.Expression(call), page.name, "eval"), names)
