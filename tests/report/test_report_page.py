"""The page: whole, self-contained, escaped, and readable by a parser."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kinelite.errors import SetupError, UsageError
from kinelite.records import TrainRecord, write_json
from kinelite.report import make_report

MakeRun = Callable[..., Path]
HOSTILE = ("<script>alert(1)</script>", "a & b", "</title>", "日本語", "\" onload='x", "caf\udce9", "{{ 7 * 7 }}")
VOID = {"meta", "link", "br", "img"}


class Page(HTMLParser):
    """Collects text, tags and references, and checks that tags nest."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(path.read_text("utf-8"))
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_holds_every_run_class_and_number(make_run: MakeRun, tmp_path: Path) -> None:
    folders = [make_run("conventional", 0), make_run("sfa", 0, top1=0.8), make_run("sfa", 1, top1=0.9)]
    write_json(
        tmp_path / "paper.json", TrainRecord(model="big", published=True, source="Some paper, table 2", top1=0.7)
    )
    path = make_report([*folders, tmp_path / "paper.json"], tmp_path / "out")
    assert path == tmp_path / "out" / "report.html"
    page = Page(path)
    text = " ".join(" ".join(page.text).split())
    for wanted in (
        "conventional-0",
        "sfa-0",
        "sfa-1",
        "left",
        "right",
        "85.0 ± 7.1 %",
        "3.4 %",
        "optim.lr",
        "encoder.*",
    ):
        assert wanted in text
    for wanted in ("Some paper, table 2", "published", "kinelite train sfa --seed 1", "no video stream", "Some CPU"):
        assert wanted in text
    assert len(page.all("img")) == 3
    assert len(page.all("svg")) == 4 + 3


def test_the_page_asks_nothing_of_a_network(make_run: MakeRun, tmp_path: Path) -> None:
    path = make_report([make_run("sfa", 0)], tmp_path / "page.html")
    page = Page(path)
    for tag, attributes in page.tags:
        assert tag not in {"script", "iframe", "object", "embed"}
        for name in ("src", "href", "xlink:href", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    assert "http:" not in path.read_text("utf-8")
    assert "https:" not in path.read_text("utf-8")
    assert "@import" not in path.read_text("utf-8")


def test_the_page_can_be_read_without_seeing_it(make_run: MakeRun, tmp_path: Path) -> None:
    page = Page(make_report([make_run("sfa", 0), make_run("conventional", 0)], tmp_path))
    assert all(attributes.get("alt") for attributes in page.all("img"))
    assert all(attributes.get("aria-label") for attributes in page.all("svg"))
    assert all(attributes.get("scope") in ("row", "col") for attributes in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table")) > 4
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    assert {(a.get("href") or "")[1:] for a in page.all("a")} <= set(identifiers)


def test_hostile_names_are_text(make_run: MakeRun, tmp_path: Path) -> None:
    page = Page(make_report([make_run("sfa", 0, HOSTILE)], tmp_path))
    text = "".join(page.text)
    for name in HOSTILE:
        assert name.encode(errors="replace").decode() in text
    assert page.all("script") == []
    assert not any("onload" in attributes for _, attributes in page.tags)


def test_strips_are_inside_the_page_and_from_the_run_folder_only(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run("sfa", 0)
    jpeg = (folder / "strips" / "worst-00.jpg").read_bytes()
    src = Page(make_report([folder], tmp_path)).all("img")[0]["src"]
    assert src is not None
    assert base64.b64decode(src.partition(",")[2]) == jpeg
    (tmp_path / "secret.jpg").write_bytes(jpeg)
    (folder / "strips" / "text.jpg").write_bytes(b"no picture")
    record = json.loads((folder / "eval.json").read_text())
    outside = ["../../secret.jpg", str(tmp_path / "secret.jpg"), "strips/none.jpg", "strips/text.jpg", "", None, "a\0b"]
    record["worst"] = [record["worst"][0] | {"strip": strip} for strip in outside]
    write_json(folder / "eval.json", record)
    page = Page(make_report([folder], tmp_path))
    assert page.all("img") == []
    assert "".join(page.text).count("no strip of frames") == len(outside)


def test_partial_and_failed_runs_are_shown_as_such(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run("sfa", 0)
    (folder / "record.json").unlink()
    write_json(
        tmp_path / "runs" / "big" / "record.json", TrainRecord(model="big", status="oom", message="12 GiB wanted")
    )
    text = "".join(Page(make_report([tmp_path / "runs"], tmp_path)).text)
    assert "record.json is missing" in text
    assert "12 GiB wanted" in text
    assert "oom" in text


@pytest.mark.parametrize("content", ["{}", '{"model": "m", "worst": [{}], "skipped": [{}], "per_class": {"a": {}}}'])
def test_records_that_say_little_still_make_a_page(content: str, tmp_path: Path) -> None:
    (tmp_path / "eval.json").write_text(content)
    (tmp_path / "record.json").write_text('{"model": "m", "stages": [{}]}')
    (tmp_path / "metrics.jsonl").write_text('{"event": "step"}\n{"event": "stage", "stage": 1}\n')
    Page(make_report([tmp_path], tmp_path))


def test_a_page_that_cannot_be_written_is_a_sentence(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run("sfa", 0)
    with pytest.raises(SetupError, match=r"is a file|in the way"):
        make_report([folder], folder / "record.json")
    with pytest.raises(UsageError):
        make_report([tmp_path / "nowhere"], tmp_path)


def test_reports_do_not_load_torch(make_run: MakeRun, tmp_path: Path) -> None:
    code = (
        "import sys; from kinelite.report import make_report\n"
        f"make_report([{str(make_run('sfa', 0))!r}], {str(tmp_path)!r})\n"
        "print([name for name in ('torch', 'cv2', 'av', 'timm', 'matplotlib.pyplot') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
