"""docs/zoo.md is made from the cards of the models: `python tests/test_model_docs.py` writes it anew."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from kinelite.bench.case import LIGHTWEIGHT
from kinelite.models import card, list_models
from kinelite.models.cost import count_layer_gmacs
from kinelite.models.registry import Card, create_model

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


PAPER = """\
## Beside the lightweight paper

Parameters at 400 classes beside those of its Table 4a; GMACs of 16 frames of 224 px.
"""
COUNTED = """

- `timesformer`: 121.57M at 16 frames and 400 classes; TimeSformer's own paper has 121.4M, which is 174 classes, the
  lightweight one 121.0M, which is less than all of it but the classes (121.26M). `swin3d_t`: 28.158M in torchvision,
  in the authors' code and here; 28.0 is their README's 28. `mvit_s`: only MViT's own paper has a figure, 26.1M.
- Figure 7 is a drawing; its text says two things in numbers. "NL-R50 over 60x" MoViNet-A0: counted whole it is
  {whole:.0f}x; counted as many tools do, by layers without products of activations, {nl:.1f} GMACs or {ratio:.0f}x.
  "MViT-S and Swin-T almost identical": not by either count ({mvit:.1f} and {swin:.1f} by layers); MViT's own paper has
  32.9 for MViT-S. No model here was bent towards those.
"""
ROWS = files("kinelite.report.published") / "lightweight.jsonl"
PUBLISHED = {
    row["model"]: row["params_m"]
    for row in map(json.loads, ROWS.read_text(encoding="utf-8").splitlines())
    if row.get("params_m")
}


def page() -> str:
    cards = [card(name) for name in list_models()]
    return "\n".join([HEAD, overview(cards), against_the_paper(), *(section(facts) for facts in cards)])


def overview(cards: list[Card]) -> str:
    lines = ["| model | parameters, M | GMACs | input | `--pretrained` |", "|---|---|---|---|---|"]
    for facts in cards:
        names = [*(["hub"] if facts.weights else []), *(release.name for release in facts.releases)]
        cost = f"{facts.params_m:.4g} | {facts.gmacs:.4g} | {facts.spec.frames} x {facts.spec.size} px"
        lines.append(f"| [`{facts.name}`](#{facts.name}) | {cost} | {', '.join(names)} |")
    return "\n".join(lines) + "\n"


def against_the_paper() -> str:
    """Parameters beside Table 4a, GMACs beside what the text says of Figure 7."""
    first = layers("movinet_a0")
    lines = [PAPER, "| model | parameters, M | published, M | | GMACs | over MoViNet-A0 |", "|---|---|---|---|---|---|"]
    for name in LIGHTWEIGHT:
        facts, published = card(name), PUBLISHED.get(name)
        paper = f"{published} | {100 * (facts.params_m / published - 1):+.1f} %" if published else "not given |"
        cost = f"{facts.gmacs:.4g} | {facts.gmacs / card('movinet_a0').gmacs:.0f}"
        lines.append(f"| `{name}` | {facts.params_m:.4g} | {paper} | {cost} |")
    counted = {name: layers(name) for name in ("nl_r50", "swin3d_t", "mvit_s")}
    nl, swin, mvit = counted.values()
    whole = card("nl_r50").gmacs / card("movinet_a0").gmacs
    return "\n".join(lines) + COUNTED.format(nl=nl, swin=swin, mvit=mvit, ratio=nl / first, whole=whole)


def layers(name: str) -> float:
    with torch.device("meta"):
        model: Any = create_model(name, frames=16, size=224)
    return count_layer_gmacs(model, model.spec)


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


def test_parameters_are_those_of_the_lightweight_paper() -> None:
    assert len(PUBLISHED) == 12
    for name, published in PUBLISHED.items():
        assert abs(card(name).params_m / published - 1) < 0.011, name


def test_page_is_what_the_cards_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python tests/test_model_docs.py"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
