"""Each operator that is replaced, against what it was, through the very graph that is handed on."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kinelite.export import replace
from kinelite.export.graph import write_down
from kinelite.export.rewrite import rewritten


class Act(nn.Module):
    """A function as a model; its result in one row per clip."""

    def __init__(self, act):
        super().__init__()
        self.act = act

    def forward(self, video):
        return self.act(video).flatten(1)


ACTS = {
    "attention": lambda x: F.scaled_dot_product_attention(*[x.flatten(3) * k for k in (1.0, 0.5, 2.0)]),
    "attention with a mask": lambda x: F.scaled_dot_product_attention(
        x.flatten(3), x.flatten(3), x.flatten(3), attn_mask=x[:, :, :, :4, 0] - x[:, :1, :, :4, 0], scale=0.3
    ),
    "mean of a clip": lambda x: x.mean((2, 3, 4), keepdim=True) + x.mean((-1, -2, -3))[:, :, None, None, None],
    "mean of frames": lambda x: x.flatten(1, 2).mean((2, 3)),
    "other means": lambda x: x.mean((1, 2)).mean(0, keepdim=True).expand(2, -1, -1),
    "mix of rows": lambda x: F.conv2d(x.flatten(3), torch.arange(9.0).view(3, 1, 3, 1), torch.ones(3), 1, (1, 0), 1, 3),
    "mean with zeros": lambda x: F.avg_pool2d(x.flatten(0, 1), 3, 2, 1).unflatten(0, (2, 3)),
    "mean without zeros": lambda x: F.avg_pool2d(x.flatten(0, 1), 3, 2, 1, count_include_pad=False).view(2, -1),
    "shift around the ends": lambda x: x.roll((2, -1), (2, -1)),
    "one place": lambda x: x[:, -1, 1],
    "all places": lambda x: torch.cat(x.unbind(2)[::-1], 2),
    "parts": lambda x: torch.cat(
        [part.flatten(1) for part in (*x.split(3, 2), *x.split([1, 2], 1), *x.chunk(3, -1))], 1
    ),
    "columns of a table": lambda x: x[0, 0, 0][:, torch.tensor([[1, 5], [0, 3], [1, 1]])],
    "numbers of a table": lambda x: x[0, 0, 0][torch.tensor([[1], [2]]), torch.tensor([[1, 5]])],
    "spread and mean": lambda x: torch.cat(
        [part.flatten(1) for part in (*torch.std_mean(x, dim=-1), *torch.std_mean(x, (3, 4), False, True))], 1
    ),
    "length of vectors": lambda x: F.normalize(x, dim=2),
    "product and sum": lambda x: torch.addcmul(x, x, x[:, :1], value=0.5) + torch.addcmul(x, x, x),
}


@pytest.mark.parametrize("name", ACTS)
def test_what_takes_an_operators_place_computes_the_same(name):
    torch.manual_seed(0)
    model, video = Act(ACTS[name]), torch.randn(2, 3, 4, 6, 6)
    torch.testing.assert_close(rewritten(model, (video,))(video)[0], model(video))


def test_nothing_of_the_table_is_left():
    video = torch.randn(2, 3, 4, 6, 6)
    for act in ACTS.values():
        before = {node.target for node in write_down(Act(act), (video,)).graph.nodes}
        after = {node.target for node in rewritten(Act(act), (video,)).graph.nodes}
        # Means, pooling and convolutions are made of themselves.
        assert not {t for t in before & replace.TABLE.keys() if str(t).split(".")[1] not in KEPT} & after


KEPT = ("mean", "avg_pool2d", "conv2d", "index")
