"""kinelite info SET: what a card says, of every set that there is."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from kinelite.data.cards import describe_set, published_counts
from kinelite.data.sets import SetCard, SetOptions, list_sets


@pytest.mark.parametrize("name", sorted(list_sets()))
def test_the_card_of_a_set(kinelite: Any, name: str) -> None:
    card = list_sets()[name]
    done = kinelite("info", name, "--json")
    assert done.code == 0, done.err
    assert done.json["spec"] == card.spec
    assert card.summary in done.out
    for text in (card.licence, card.source, *card.tree.split("\n")):
        assert text.strip() in done.out
    options = {option["name"]: option for option in done.json["options"]}
    assert set(options) == {field.name for field in dataclasses.fields(card.options)}
    assert all(option["meaning"] and option["takes"] for option in options.values()), options
    assert done.json["published"] == dict(card.published)
    assert all(f"{count:,}" in done.out for count in card.published.values())
    if card.published:
        assert card.licence
        assert card.source
        assert card.tree


def test_a_whole_spec_is_understood(kinelite: Any) -> None:
    assert kinelite("info", "kinetics400:/data/k400,exclude=bad.csv", "--json").json["name"] == "kinetics400"


def test_an_unknown_name_is_answered_with_the_nearest_of_both(kinelite: Any) -> None:
    kinelite("info", "kinetic400").failed(2, "Unknown model or set 'kinetic400'", "kinetics400", "list datasets")
    kinelite("info", "vivit_fe_tii").failed(2, "Unknown model or set 'vivit_fe_tii'", "vivit_fe_ti", "list models")


@dataclasses.dataclass(frozen=True)
class Options(SetOptions):
    """Of a set that does not exist."""

    many: int = 3
    """How many, in
    two lines."""
    task: str = "Big"
    plain: bool = True
    """Whether."""


def card(**published: int) -> SetCard:
    counts = {name.replace("__", " ").replace("_is_", "="): count for name, count in published.items()}
    return SetCard("x", "x:ROOT", "a set", lambda *_: None, Options, published=counts)  # type: ignore[arg-type,return-value]


def test_options_come_with_type_default_and_meaning() -> None:
    found = describe_set(card())
    assert json.loads(json.dumps(found)) == found
    assert [tuple(option.values()) for option in found["options"][:3]] == [
        ("many", "whole number", "3", "How many, in two lines."),
        ("task", "text", "Big", ""),
        ("plain", "true or false", "true", "Whether."),
    ]
    assert [option["name"] for option in found["options"][3:]] == ["exclude", "outside"]


def test_counts_of_a_variant() -> None:
    here = card(classes=3, train=10, train__task_is_Small=4)
    assert published_counts(here, {}) == published_counts(here, {"task": "Big", "many": "5"}) == {
        "classes": 3, "train": 10
    }  # fmt: skip
    assert published_counts(here, {"task": "Small"}) == {"train": 4}
    assert published_counts(here, {"task": "Tiny"}) == {}
