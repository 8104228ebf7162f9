"""docs/zoo.md is made from the cards of the models: `python tests/test_model_docs.py` writes it anew."""

from __future__ import annotations

from pathlib import Path

from kinelite.models import card, list_models
from kinelite.models.registry import Card

PAGE = Path(__file__).resolve().parents[1] / "docs" / "zoo.md"
HEAD = """\
# Models, one by one

The thirteen models of *Evaluating Transformers for Lightweight Action Recognition* (Table 1), their variants, and
ViViT with factorised encoder in all sizes. Parameters are at 400 classes; GMACs (10^9 multiply-accumulates, what papers
call GFLOPs) are of one clip at the input given, attention included, counted by `kinelite info MODEL`.

    kinelite list models --max-gmacs 10
    kinelite info x3d_xs
    kinelite train lightweight --data folder:clips/ --model x3d_xs --pretrained k400

[models.md](models.md) tells how models are built, changed and added; [weights.md](weights.md) what `--pretrained`
takes; [performance.md](performance.md) how fast they are beside their public implementations.

This page is made from the models' cards; `python tests/test_model_docs.py` writes it anew.
"""


def page() -> str:
    cards = [card(name) for name in list_models()]
    return "\n".join([HEAD, overview(cards), *(section(facts) for facts in cards)])


def overview(cards: list[Card]) -> str:
    lines = ["| model | parameters, M | GMACs | input | `--pretrained` |", "|---|---|---|---|---|"]
    for facts in cards:
        names = [*(["hub"] if facts.weights else []), *(release.name for release in facts.releases)]
        cost = f"{facts.params_m:.4g} | {facts.gmacs:.4g} | {facts.spec.frames} x {facts.spec.size} px"
        lines.append(f"| [`{facts.name}`](#{facts.name}) | {cost} | {', '.join(names)} |")
    return "\n".join(lines) + "\n"


def section(facts: Card) -> str:
    lines = [f"## {facts.name}", "", f"{facts.summary}.", "", f"- Paper: {facts.paper}."]
    lines += [f"- Built: {text}" for text in (facts.origin,) if text]
    lines += [f"- Difference to the paper: {text}" for text in (facts.difference,) if text]
    if facts.weights:
        lines.append(f"- Image weights (`hub`): timm's `{facts.weights}`, {facts.licence}.")
    for release in facts.releases:
        lines.append(f"- Weights `{release.name}`: `{release.address}`; {release.classes}; {release.licence}.")
    for score in facts.scores:
        lines.append(f"- Published: {score.top1} % top-1 on {score.data}, {score.protocol} ({score.source}).")
    return "\n".join(lines) + "\n"


def test_page_is_what_the_cards_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python tests/test_model_docs.py"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
