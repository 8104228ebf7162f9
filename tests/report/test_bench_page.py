"""The page of measurements and its files: whole, escaped, without a request; beside a page of runs or alone."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_bench import awkward, made

from kinelite.errors import UsageError
from kinelite.records import append_jsonl
from kinelite.report.benchmark.columns import make_columns
from kinelite.report.benchmark.draw import Dot, Plot, Series, draw
from kinelite.report.load import find_runs
from kinelite.report.page import Pages, make_pages, page_names
from kinelite.report.published import published_models

MakeRun = Callable[..., Path]
HOSTILE = ("<script>alert(1)</script>", "a & b | c", "\" onload='x", "日本語", "{{ 7 * 7 }}")
VOID = {"meta", "link", "br", "img"}


class Page(HTMLParser):
    """Tags with attributes, and text, of a page whose tags nest."""

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


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    """Of awkward records with a damaged line."""
    folder = tmp_path_factory.mktemp("bench")
    for record in awkward():
        append_jsonl(folder / "records" / f"{record.device}.jsonl", record, sync=False)
    with open(folder / "records" / "cpu.jsonl", "a") as file:
        file.write('{"kind": "bench", "model": "cut')
    return make_pages([folder / "records"], folder / "out")


def test_the_page_has_every_model_section_and_reason(pages: Pages) -> None:
    assert pages.page == pages.benchmark
    page = Page(pages.page)
    text = " ".join(" ".join(page.text).split())
    for wanted in (
        *published_models(),
        *("movinet_a0_stream", "AMD EPYC, bf16, 2 threads", "H200, bf16, compiled", "mean of 5 desktop GPUs"),
        *("failed: the process ended with signal 9 (killed)", "2.1 cores were busy with something else"),
        *(
            "measured at batch 2 of 8",
            "cpu.jsonl: line",
            "is damaged",
            "61.0 % !",
            "torch.compile: graph break in roll",
        ),
    ):
        assert wanted in text, wanted
    assert len(page.all("svg")) == len(list((pages.page.parent / "figures").glob("*.svg")))
    # As many points as the records and the paper have, each with what it says.
    assert sum(tag == "title" for tag, _ in page.tags) > 13 * 4 * 3


def test_the_page_asks_nothing_of_a_network_and_runs_its_own_script_only(pages: Pages) -> None:
    page = Page(pages.page)
    assert len(page.all("script")) == 1
    source = pages.page.read_text("utf-8")
    script = source.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy
    assert not re.search(r"https?:|@import|//[a-z]+\.", source)
    for _, attributes in page.tags:
        for name in ("src", "href", "action"):
            assert re.match(r"#|data:|(tables|figures)/[\w-]+\.\w+$", attributes.get(name) or "#")


def test_the_page_can_be_read_without_seeing_it(pages: Pages) -> None:
    page = Page(pages.page)
    assert all(attributes.get("aria-label") for attributes in page.all("svg"))
    assert len(page.all("caption")) == len(page.all("table")) > 15
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    links = [(a.get("href") or "") for a in page.all("a")]
    assert {link[1:] for link in links if link.startswith("#")} <= set(identifiers)
    assert all((pages.page.parent / link).is_file() for link in links if not link.startswith("#"))


def test_every_table_and_figure_is_a_file_too(pages: Pages) -> None:
    folder = pages.page.parent
    assert {file.relative_to(folder) for file in pages.files} == {
        file.relative_to(folder) for file in folder.rglob("*") if file.is_file()
    }
    figures = {file.stem for file in (folder / "figures").iterdir()}
    modes = {
        f"{kind}-{mode}" for kind in ("relative", "latency", "memory", "gmacs") for mode in ("train", "batch", "single")
    }
    assert figures >= modes | {"accuracy-0", "accuracy-1", "latency-epochs"}
    for name in figures:
        assert ET.parse(folder / "figures" / f"{name}.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    tables = {file.stem for file in (folder / "tables").glob("*.md")}
    assert {file.stem for file in (folder / "tables").glob("*.csv")} == tables | {"measurements"}


def test_hostile_names_are_text(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    for name in HOSTILE:
        append_jsonl(file, made(name, "single", 3.0, device_name=name, notes=[name]), sync=False)
        append_jsonl(file, made(name, "train", status="failed", message=name), sync=False)
    page = Page(make_pages([file], tmp_path / "out").page)
    text = "".join(page.text)
    assert all(name in text for name in HOSTILE)
    assert len(page.all("script")) == 1
    assert not any("onload" in attributes for _, attributes in page.tags)


def test_runs_and_measurements_make_two_pages_that_name_each_other(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("sfa", 0)
    append_jsonl(tmp_path / "bench.jsonl", made("vivit_fe_ti", "single", 12.0), sync=False)
    found = make_pages([run, tmp_path / "bench.jsonl"], tmp_path / "out")
    assert found.page == tmp_path / "out" / "report.html"
    assert found.benchmark == tmp_path / "out" / "benchmark.html"
    assert "benchmark.html" in {a.get("href") for a in Page(found.page).all("a")}
    page = Page(found.benchmark)
    assert "report.html" in {a.get("href") for a in page.all("a")}
    # The run's accuracy stands against the latency that was measured for its model.
    text = " ".join(page.text)
    assert "Own runs: motion on AMD EPYC, fp32, 2 threads" in text
    assert "motion top-1, %, own" in text


@pytest.mark.parametrize(
    ("out", "runs", "benchmark", "names"),
    [
        ("out", True, False, ("out/report.html", None)),
        ("out", False, True, ("out/benchmark.html", "out/benchmark.html")),
        ("out", True, True, ("out/report.html", "out/benchmark.html")),
        ("a/my.html", False, True, ("a/my.html", "a/my.html")),
        ("a/my.html", True, True, ("a/my.html", "a/my-benchmark.html")),
    ],
)
def test_names_of_pages(out: str, runs: bool, benchmark: bool, names: tuple[str, str | None]) -> None:
    first, second = page_names(Path(out), runs, benchmark)
    assert (first.as_posix(), second and second.as_posix()) == names


def test_a_path_without_anything_comparable_is_a_sentence(tmp_path: Path) -> None:
    append_jsonl(tmp_path / "input" / "a.jsonl", made("m", "input"), sync=False)
    with pytest.raises(UsageError, match=r"no \.jsonl file with measurements.*1 records left out \(mode input\)"):
        make_pages([tmp_path / "input"], tmp_path / "out")
    with pytest.raises(UsageError, match=r"there is nothing of that name\. In '.*' there are: input\."):
        make_pages([tmp_path / "nowhere"], tmp_path / "out")
    append_jsonl(tmp_path / "bench.jsonl", made("movinet_a0", "single", 12.0), sync=False)
    with pytest.raises(UsageError, match="no training record"):
        find_runs([tmp_path / "bench.jsonl"])


def test_figures_have_every_point_where_it_belongs() -> None:
    (column,) = make_columns([made("movinet_a0", "single", 10.0), made("x3d_xs", "single", 20.0)])
    dots = {model: Dot(column.relative(model) or 0, tip=f"of {model}") for model in column.entries}
    plot = Plot("p", "Title", "across", "", [Series("one", dots), Series("paper", dots, published=True)], list(dots))
    drawn = draw(plot)
    assert drawn.inline.count('class="point"') == 4
    assert drawn.inline.count("<title>x3d_xs: of x3d_xs</title>") == 2
    assert "var(--c0)" in drawn.inline
    assert b"var(--" not in drawn.svg
    xs = [float(x) for x in re.findall(r'<use href="#m\w+" x="([\d.]+)"', drawn.inline)]
    assert xs


def test_the_page_is_made_without_torch(tmp_path: Path) -> None:
    append_jsonl(tmp_path / "bench.jsonl", made("movinet_a0", "single", 12.0), sync=False)
    code = (
        "import sys; from kinelite.report import make_report\n"
        f"make_report([{str(tmp_path / 'bench.jsonl')!r}], {str(tmp_path)!r})\n"
        "print([name for name in ('torch', 'cv2', 'av', 'timm', 'matplotlib.pyplot') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
