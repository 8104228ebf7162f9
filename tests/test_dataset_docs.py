"""docs/datasets.md is made from the cards of the sets: `python tests/test_dataset_docs.py` writes it anew."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from kinelite.data.cards import describe_set
from kinelite.data.sets import SetOptions, list_sets

PAGE = Path(__file__).resolve().parents[1] / "docs" / "datasets.md"
COMMON = set(SetOptions.__dataclass_fields__)
OWN_CLIPS = ("folder", "csv", "list", "store", "motion")
HEAD = """\
# Data sets

Every set in its owner's files and layout, as the official download or the common tools leave them. Kinelite downloads
nothing: get a set from its owner, under its terms, and name its folder. A set is named `NAME:ROOT`, with options behind
it: `NAME:ROOT,option=value,option=value`. [data.md](data.md) tells how clips are split, sampled and checked.

    kinelite info kinetics400
    kinelite data check kinetics400:/data/k400 --out bad.csv
    kinelite train sfa --data kinetics400:/data/k400,exclude=bad.csv

Clips that the lists name and that are not there are counted, listed by `kinelite data check` and left out. Counts that
differ from the published ones are a note of that check.

Every set takes `exclude=FILE`, a CSV file of clips to leave out as `kinelite data check` writes it with `--out`, and
`outside=true`, which accepts paths in lists that lead out of the root; the table of `csv` is your own and may name any.

This page is made from the sets' cards; `python tests/test_dataset_docs.py` writes it anew.
"""


def page() -> str:
    found = {name: describe_set(card) for name, card in list_sets().items()}
    others = [name for name in found if name not in OWN_CLIPS]
    own = [name for name in OWN_CLIPS if name in found]
    parts = [HEAD, overview([found[name] for name in others + own])]
    parts += ["## Published sets\n", *(section(found[name]) for name in others)]
    parts += ["## Your own clips\n", *(section(found[name]) for name in own)]
    return "\n".join(parts)


def overview(sets: list[dict[str, Any]]) -> str:
    lines = ["| set | what it is | classes | train | val | test |", "|---|---|---|---|---|---|"]
    for facts in sets:
        counts = {name: f"{count:,}" for name, count in facts["published"].items() if "=" not in name}
        classes = [f"{counts[name]} {name[8:]}".strip() for name in counts if name.startswith("classes")]
        cells = [facts["summary"], ", ".join(classes), *(counts.get(name, "") for name in ("train", "val", "test"))]
        lines.append(row(f"[`{facts['name']}`](#{facts['name']})", *cells))
    return "\n".join(lines) + "\n"


def row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def variants(published: dict[str, int]) -> list[tuple[str, list[str]]]:
    """The counts of the default variant, then those of each other one with the option that names it."""
    found: dict[str, list[str]] = {}
    for name, count in published.items():
        words = name.split()
        option = next((f" with `{word}`" for word in words if "=" in word), "")
        found.setdefault(option, []).append(f"{' '.join(word for word in words if '=' not in word)} {count:,}")
    return list(found.items())


def section(facts: dict[str, Any]) -> str:
    lines = [f"### {facts['name']}", "", f"`{facts['spec']}`: {facts['summary']}.", ""]
    for name in ("source", "licence"):
        if facts[name]:
            lines += [f"- {name.capitalize()}: {facts[name]}"]
    if facts["published"]:
        lines += [f"- Published{variant}: {', '.join(counts)}." for variant, counts in variants(facts["published"])]
    if lines[-1]:
        lines += [""]
    if facts["tree"]:
        lines += [textwrap.indent(facts["tree"], "    "), ""]
    options = [option for option in facts["options"] if option["name"] not in COMMON]
    if options:
        lines += ["| option | takes | default | meaning |", "|---|---|---|---|"]
        for option in options:
            default = f"`{option['default']}`" if option["default"] else ""
            lines.append(row(f"`{option['name']}`", option["takes"], default, option["meaning"]))
        lines += [""]
    return "\n".join(lines)


def test_the_page_says_what_the_cards_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "written anew by: python tests/test_dataset_docs.py"


def test_every_set_has_a_section() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in list_sets() if f"\n### {name}\n" not in text] == []


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
