"""MoViNet against the authors' code, a PyTorch port of it, and a real trained stream model.

tests/reference/movinet.safetensors holds logits of TensorFlow model garden (``garden``, ``garden_frames`` after each
frame) and of Atze00/MoViNet-pytorch (``port``), 5 classes, with the weights of `loud` carried over by the inverse of
our layouts, on the videos of `video`; its metadata say which versions. tests/reference/layouts/movinet.json holds names
and shapes: for the model garden, key in a tf.train.Checkpoint(model=...), name of the variable, shape; A0, 5 classes,
``stream_3d`` being conv_type 3d_2plus1d, in which the authors train.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from golden import fill, weights_for
from safetensors.torch import load_file
from torch import Tensor, nn

import kinelite as kl
from kinelite.config import NetConfig
from kinelite.errors import UsageError
from kinelite.models.movinet_blocks import Bottleneck, ConvNorm, average_pool, turned
from kinelite.models.movinet_stream import running_means
from kinelite.models.weights import load_weights

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
LAYOUTS: dict[str, list] = json.loads((REFERENCE / "layouts" / "movinet.json").read_text())
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""By number of axes."""


def loud(model: nn.Module) -> nn.Module:
    """Weights by name, with gains near those of trained blocks and larger logits, so that 1e-5 of them is little."""
    filled = fill(model)
    louder = {n: t * 10 if n.endswith((".gain", "head.label.weight")) else t for n, t in filled.items()}
    model.load_state_dict(louder)
    return model.eval()


def video(size: int) -> Tensor:
    noise = weights_for(f"video{size}", (2, 3 * 4 * size * size)).reshape(2, 3, 4, size, size)
    return torch.sigmoid(2 * noise * (12 * size * size) ** 0.5)


def small(name: str, **options: object) -> nn.Module:
    return kl.create_model(name, num_classes=5, frames=4, size=64, **options)


@pytest.mark.parametrize("size", [64, 45])
@pytest.mark.parametrize("model", ["a0_base", "a2_base", "a0_stream", "a2_stream"])
def test_logits_are_those_of_the_authors_code_and_of_the_port(model: str, size: int) -> None:
    """64 halves to even heights, where SAME is not symmetric, 45 to odd and even ones."""
    reference = load_file(REFERENCE / "movinet.safetensors")
    ours = loud(small(f"movinet_{model.removesuffix('_base')}"))
    with torch.inference_mode():
        logits = ours(video(size))
    for source in ("garden", "port"):
        torch.testing.assert_close(logits, reference[f"{model}.{size}.{source}"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("size", [64, 45])
@pytest.mark.parametrize("model", ["a0_stream", "a2_stream"])
def test_each_step_gives_the_logits_of_the_authors_code(model: str, size: int) -> None:
    wanted = load_file(REFERENCE / "movinet.safetensors")[f"{model}.{size}.garden_frames"]
    ours, state = loud(small(f"movinet_{model}")), None
    with torch.inference_mode():
        for i, frame in enumerate(video(size).unbind(2)):
            logits, state = ours.step(frame, state)
            torch.testing.assert_close(logits, wanted[:, i], rtol=0, atol=2e-5)


@pytest.fixture(scope="module")
def trained(shared: Path) -> tuple[nn.Module, dict[str, np.ndarray]]:
    """A complete trained A0 stream model, and what TensorFlow's runtime made of 16 real frames with it."""
    weights = shared / "weights" / "movinet_a0_stream.cow7.safetensors"
    if not weights.is_file():
        pytest.skip("the trained stream model is not in ../shared/weights")
    model = kl.create_model("movinet_a0_stream", num_classes=7, frames=16, size=172).eval()
    load_weights(model, weights)
    with np.load(weights.with_name("movinet_a0_stream.reference.npz")) as file:
        return model, {key.removeprefix("ut_pushing/"): file[key] for key in file.files}


def real_frames(reference: dict[str, np.ndarray]) -> Tensor:
    return torch.from_numpy(reference["frames_uint8"]).permute(0, 3, 1, 2) / 255


def test_a_trained_stream_model_frame_by_frame(trained: tuple) -> None:
    model, reference = trained
    places = {f"block{i}_layer{j}": b for i, stage in enumerate(model.encoder.blocks) for j, b in enumerate(stage)}
    state, logits = None, torch.from_numpy(reference["logits_fp32"])
    for i, frame in enumerate(real_frames(reference).split(1)):
        seen: dict[str, Tensor] = {}
        with torch.inference_mode(), listening(places, seen):
            found, state = model.step(frame, state)
        torch.testing.assert_close(found[0], logits[i], rtol=0, atol=1e-5)
        for name in places if f"block/block0_layer0@{i}" in reference else ():
            wanted = torch.from_numpy(reference[f"block/{name}@{i}"]).float()[:, 0].permute(0, 3, 1, 2).flip(2, 3)
            # Stored as float16, which has steps of up to 2**-10 of a value.
            torch.testing.assert_close(seen[name], wanted, rtol=2**-10, atol=1e-3)
    check_state(model, state, reference)


@contextlib.contextmanager
def listening(places: dict[str, nn.Module], seen: dict[str, Tensor]) -> Iterator[None]:
    """Keeps what each block returns from a step."""

    def kept(name: str, block: Any) -> Callable[..., Any]:
        def step(*given: Any) -> Any:
            output, state = type(block).step(block, *given)
            seen[name] = output.clone()
            return output, state

        return step

    for name, block in places.items():
        block.step = kept(name, block)
    yield
    for block in places.values():
        del block.step


def check_state(model: nn.Module, state: tuple[Tensor, ...], reference: dict[str, np.ndarray]) -> None:
    count, *rest, total = state
    assert count.item() == 16
    checked = 0
    for i, stage in enumerate(model.encoder.blocks):
        for j, block in enumerate(stage):
            *past, pooled = rest[: block.plan.time]
            rest = rest[block.plan.time :]
            prefix = f"final_state/state_block{i}_layer{j}"
            check(pooled, reference[f"{prefix}_pool_buffer"][:, 0])
            assert reference[f"{prefix}_pool_frame_count"] == count.item()
            if f"{prefix}_stream_buffer" in reference:
                for image, wanted in zip(past, reference[f"{prefix}_stream_buffer"][0], strict=True):
                    check(image, wanted[None])
                    checked += 1
    check(total, reference["final_state/state_head_pool_buffer"][:, 0])
    assert (rest, checked) == ([], 4)


def check(ours: Tensor, reference: np.ndarray) -> None:
    """Ours are turned by 180 degrees."""
    wanted = torch.from_numpy(reference).permute(0, 3, 1, 2).flip(2, 3)
    torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-4)


def test_a_clip_at_once_gives_the_logits_of_its_last_frame(trained: tuple) -> None:
    model, reference = trained
    frames = real_frames(reference).transpose(0, 1)[None]
    with torch.inference_mode():
        for length in (1, 7, 16):
            wanted = torch.from_numpy(reference["logits_fp32"][length - 1 : length])
            torch.testing.assert_close(model(frames[:, :, :length]), wanted, rtol=0, atol=1e-5)


def garden(kind: str, column: int, suffix: str) -> dict[str, Tensor]:
    """A checkpoint of real names and shapes, filled by name of the variable."""
    return {row[column] + suffix: weights_for(row[1], row[2]) for row in LAYOUTS[kind]}


GARDEN = [
    (kind, column, suffix)
    for kind in ("a0_base", "a0_stream", "a0_stream_3d")
    for column, suffix in ((0, "/.ATTRIBUTES/VARIABLE_VALUE"), (1, ""), (1, ":0"))
]


def model_for(kind: str) -> nn.Module:
    return small("movinet_a0" if "base" in kind else "movinet_a0_stream")


@pytest.mark.parametrize(("kind", "column", "suffix"), GARDEN)
def test_model_garden_checkpoints_load(kind: str, column: int, suffix: str) -> None:
    model, state = model_for(kind), garden(kind, column, suffix)
    extra = {"save_counter/.ATTRIBUTES/VARIABLE_VALUE": torch.tensor(1), "optimizer/iter:0": torch.tensor(1)}
    assert load_weights(model, state | extra).loaded == len(state)
    ours = model.state_dict()
    name, shape = next(row[1:] for row in LAYOUTS[kind] if re.search("block0_layer0/bneck/expansion.*kernel", row[1]))
    kernel = weights_for(name, shape)
    assert torch.equal(ours["encoder.blocks.0.0.expand.conv.weight"].flatten(), kernel.reshape(8, 24).T.flatten())
    name, shape = next(row[1:] for row in LAYOUTS[kind] if "block2_layer1/bneck/se/se_expand" in row[1] and row[2][1:])
    gate = weights_for(name, shape).reshape(shape[-2:]).T * (1.2 if "stream" in kind else 1)
    assert torch.equal(ours["encoder.blocks.2.1.gate.expand.weight"], gate)


def test_the_prefix_of_a_checkpoint_does_not_matter() -> None:
    """The tool that makes 2plus1d checkpoints saves the model and its backbone, which shortens the names."""
    model, state = model_for("a0_stream"), garden("a0_stream", 0, "/.ATTRIBUTES/VARIABLE_VALUE")
    shorter = {k.replace("model/layer_with_weights-0/", "backbone/"): v for k, v in state.items()}
    assert shorter.keys() != state.keys()
    assert load_weights(model, shorter).loaded == len(state)


def test_both_hard_sigmoids_are_one_gate() -> None:
    x = torch.linspace(-5, 5, 1001)
    keras = (0.2 * x + 0.5).clamp(0, 1)
    torch.testing.assert_close(torch.nn.functional.hardsigmoid(1.2 * x), keras, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["base", "stream"])
def test_the_port_s_checkpoints_load(kind: str) -> None:
    state = {name: weights_for(name, tuple(shape)) for name, shape in LAYOUTS[f"port_a0_{kind}"]}
    model = model_for(kind)
    assert load_weights(model, state).loaded == len(state)
    ours = model.state_dict()
    assert torch.equal(ours["dense.bias"], state[f"classifier.0.conv_1.conv{'3d' if kind == 'base' else '2d'}.bias"])
    assert torch.equal(ours["encoder.blocks.4.3.gain"], state["blocks.b4_l3.alpha"])


def folded_tflite(model: nn.Module) -> dict[str, Tensor]:
    """The names and layout of a TFLite file, which has no norms, from a model of ours."""
    words = {"expand": "expansion", "project": "projection", "depthwise": "feature_spatial", "skip": "skip_project"}
    state = {}
    for name, tensor in model.state_dict().items():
        name = re.sub(r"encoder\.blocks\.(\d)\.(\d)\.", r"block\1_layer\2/", name).removeprefix("encoder.")
        name = name.replace("head.label", "head/classifier").replace("dense", "head/dense").replace("gain", "rezero")
        name = name.replace("gate.", "se_").replace(".", "/")
        if "/norm/" not in name and "/conv/" not in name:
            state[name] = tensor[:, None, None] if tensor.ndim == 2 else tensor + 3 * name.endswith("se_expand/bias")
    for place, module in model.named_modules():
        if isinstance(module, ConvNorm):
            *block, last = place.removeprefix("encoder.").removeprefix("blocks.").split(".")
            prefix = f"block{block[0]}_layer{block[1]}/{words.get(last, 'feature_temporal')}" if block else last
            prefix = "head/project" if prefix == "project" else prefix
            weight, bias = module.folded()
            channels_first = (1, 2, 3, 0) if last in ("depthwise", "temporal") else (0, 2, 3, 1)
            state |= {f"{prefix}/weight": weight.permute(channels_first), f"{prefix}/bias": bias}
    return {name: tensor.detach() for name, tensor in state.items()}


def test_tflite_names_and_folded_norms() -> None:
    ours = loud(small("movinet_a0_stream"))
    state = folded_tflite(ours)
    assert len(state) == 203, "as many as the real file has"
    assert state["block1_layer0/feature_temporal/weight"].shape == (1, 3, 1, 80)
    model = small("movinet_a0_stream").eval()
    load_weights(model, state)
    with torch.inference_mode():
        torch.testing.assert_close(model(video(45)), ours(video(45)), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "column"), [("a0_base", 0), ("a0_base", 1), ("a0_stream", 0), ("port_a0_base", 0), ("port_a0_stream", 0)]
)
def test_damaged_checkpoints_tell_the_difference(kind: str, column: int) -> None:
    rows = [(row[column], row[-1]) for row in LAYOUTS[kind]]
    whole = {name: torch.zeros(shape) for name, shape in rows}
    gone, changed = rows[40][0], next(name for name, shape in rows[60:] if len(shape) == 1)
    damaged = {k: v for k, v in whole.items() if k != gone} | {changed: torch.zeros(3), "something/else": torch.ones(2)}
    model = model_for(kind)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(UsageError) as error:
        load_weights(model, damaged)
    said = str(error.value)
    assert "1 in the model but not in the file" in said
    assert "1 in the file but not in the model" in said
    assert "1 of another shape" in said
    assert "file 3, model" in said
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_checkpoint_of_another_size_is_refused() -> None:
    with pytest.raises(UsageError, match="do not fit"):
        load_weights(small("movinet_a1"), garden("a0_base", 1, ""))


@pytest.mark.parametrize("frames", [True, False])
@pytest.mark.parametrize("time", [1, 3])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (6, 7), (9, 8)])
def test_padding_is_tensorflows_same(shape: tuple[int, int], kernel: int, time: int, frames: bool) -> None:
    """Against the formula of its documentation, with the zeros really added."""
    for stride in (1, 2) if kernel > 1 else (1,):
        conv = (
            nn.Conv2d(4, 4, kernel, stride, groups=4, bias=False)
            if frames
            else nn.Conv3d(4, 4, (time, kernel, kernel), (1, stride, stride), groups=4, bias=False)
        )
        x = torch.randn(2, 4, *shape) if frames else torch.randn(2, 4, 3, *shape)
        padding = [] if frames else [time // 2, time // 2]
        for size in shape:
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            padding = [total // 2, total - total // 2, *padding]
        padded = nn.functional.pad(x, padding)
        block = ConvNorm(conv, None).eval()
        for grad in (False, True):
            with torch.set_grad_enabled(grad):
                ours = turned(block(turned(x.contiguous(memory_format=CHANNELS_LAST[x.ndim]))))
                torch.testing.assert_close(ours, conv(padded) / 1.001**0.5)


def test_pooling_counts_the_pixels_that_are_there() -> None:
    x = torch.randn(1, 2, 3, 6, 7)
    pooled = turned(average_pool(turned(x)))
    assert pooled.shape == (1, 2, 3, 3, 4)
    torch.testing.assert_close(pooled[0, :, :, 0, 0], x[0, :, :, 0:3, 0:2].mean(dim=(-2, -1)))
    torch.testing.assert_close(pooled[0, :, :, 2, 3], x[0, :, :, 4:6, 5:7].mean(dim=(-2, -1)))
    torch.testing.assert_close(turned(average_pool(turned(x[:, :, 0]))), pooled[:, :, 0])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", ["movinet_a0", "movinet_a0_stream"])
def test_channels_stay_last_in_memory(name: str, batch: int, training: bool) -> None:
    """Otherwise convolutions take three times as long, and nothing else would tell."""
    model, odd = small(name).train(training), []
    for place, module in model.encoder.named_modules():
        if isinstance(module, ConvNorm | Bottleneck):
            module.register_forward_hook(
                lambda _, __, y, place=place: (
                    None if y.is_contiguous(memory_format=CHANNELS_LAST[y.ndim]) else odd.append(place)
                )
            )
    with torch.set_grad_enabled(training):
        model(video(64)[:batch])
    assert odd == []


@pytest.mark.parametrize("name", ["movinet_a0", "movinet_a0_stream"])
def test_folded_norms_do_what_norms_do(name: str) -> None:
    """Evaluation, with and without gradients, against training mode with the statistics of evaluation."""
    model, clip = loud(small(name)), video(45)
    with torch.no_grad():
        in_place = model(clip)
    torch.testing.assert_close(model(clip), in_place, rtol=0, atol=1e-6)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.train()
            module.forward = lambda x, m=module: nn.functional.batch_norm(
                x, m.running_mean, m.running_var, m.weight, m.bias, False, 0, m.eps
            )
    torch.testing.assert_close(model(clip), in_place, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["movinet_a0", "movinet_a0_stream"])
def test_every_parameter_learns_once_the_gains_are_not_zero(name: str) -> None:
    """Gains begin at 0, so that at first nothing behind them gets a gradient that is not 0."""
    torch.manual_seed(0)
    model = small(name).train()
    model(video(64)).square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    for parameter in (p for n, p in model.named_parameters() if n.endswith(".gain")):
        nn.init.ones_(parameter)
    model.zero_grad()
    model(video(64)).square().sum().backward()
    assert [n for n, p in model.named_parameters() if not p.grad.any()] == []


def test_a_frame_does_not_change_what_was_before_it() -> None:
    model, clip = loud(small("movinet_a0_stream")), video(45)
    later = clip.clone()
    later[:, :, 3] = 0
    with torch.inference_mode():
        assert torch.equal(model(clip[:, :, :3]), model(later[:, :, :3]))
        assert not torch.allclose(model(clip), model(later))


def test_a_step_leaves_the_given_state_alone() -> None:
    model = loud(small("movinet_a0_stream"))
    first, second, third, _ = video(64).unbind(2)
    with torch.inference_mode():
        _, state = model.step(first)
        kept = tuple(part.clone() for part in state)
        once, after = model.step(second, state)
        model.step(third, state)
        assert all(torch.equal(a, b) for a, b in zip(state, kept, strict=True))
        again, _ = model.step(second, kept)
    assert torch.equal(once, again)
    assert [part.shape for part in after] == [part.shape for part in model.start(2)]
    assert all(part.ndim == 4 for part in after)


def test_half_precision_counts_beyond_256_frames() -> None:
    """In bf16 256 + 1 is 256, and a sum of 256 means stays what it is."""
    model = loud(small("movinet_a0_stream")).bfloat16()
    frame = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.inference_mode():
        _, state = model.step(frame)
        assert [part.dtype for part in state] == [part.dtype for part in model.start()]
        later = tuple(part * 256 if part.shape[2:] == (1, 1) else part for part in state)
        _, after = model.step(frame, later)
    assert after[0].item() == 257
    assert (after[-1] - later[-1]).abs().sum() > 0.5 * state[-1].abs().sum()
    means = torch.cat([torch.ones(1, 300, 1), torch.zeros(1, 300, 1)], 1).bfloat16()
    assert running_means(means)[0, [299, 599]].flatten().tolist() == [1, 0.5]


def test_a_state_of_other_frames_is_refused() -> None:
    model = small("movinet_a0_stream").eval()
    for state in (model.start(2), model.start(1)[:-1]):
        with pytest.raises(UsageError, match="not made for frames 1x3x64x64"):
            model.step(torch.zeros(1, 3, 64, 64), state)
    with pytest.raises(UsageError, match=r"model\.eval"):
        model.train().step(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize("name", ["movinet_a0", "movinet_a0_stream"])
@pytest.mark.parametrize("shape", [(1, 3, 1, 32, 48), (2, 3, 3, 17, 16), (1, 3, 2, 1, 1)])
def test_any_number_of_frames_and_pixels(name: str, shape: tuple[int, ...]) -> None:
    with torch.inference_mode():
        assert small(name).eval()(torch.rand(shape)).shape == (shape[0], 5)


@pytest.mark.slow
def test_one_graph_for_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks of tensor shapes in the test run are no part of the graph that users compile."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    model, clip = loud(small("movinet_a0_stream")), video(64)[:, :, :2]
    step, state = torch.compile(model.step, backend="eager", fullgraph=True), model.start(2)
    with torch.no_grad():
        for frame in clip.unbind(2):
            logits, state = step(frame, state)
        torch.testing.assert_close(logits, model(clip), rtol=0, atol=1e-5)


def test_clips_are_dropped_not_frames() -> None:
    block = small("movinet_a0_stream", net=NetConfig(drop_path=0.5)).encoder.blocks[4][3].train()
    nn.init.ones_(block.gain)
    torch.manual_seed(0)
    with torch.no_grad():
        x = torch.randn(8 * 4, 104, 2, 2)
        kept = (block(x, 4) != x).unflatten(0, (8, 4)).any(dim=(2, 3, 4))
    assert kept.any()
    assert not kept.all()
    assert torch.equal(kept, kept[:, :1].expand(-1, 4))


def test_options() -> None:
    model = small("movinet_a0", net=NetConfig(drop_path=0.3, dropout=0.1))
    rates = [block.drop_path.drop_prob for block in model.encoder.each_block()]
    assert rates[0] == pytest.approx(0.02)
    assert rates[-1] == pytest.approx(0.3)
    assert model.head.dropout == 0.1
    assert small("movinet_a2").head.dropout == 0.5
    with pytest.raises(UsageError, match=r"net\.tubelet"):
        small("movinet_a0", net=NetConfig(tubelet=2))


@pytest.mark.parametrize(("size", "dropout"), [("a0", 0.2), ("a1", 0.5), ("a2", 0.5)])
def test_trains_with_the_authors_dropout_and_momentum(size: str, dropout: float) -> None:
    """Keras's momentum of 0.99 is 0.01 here."""
    with torch.device("meta"):
        for kind in ("", "_stream"):
            model = kl.create_model(f"movinet_{size}{kind}")
            assert model.head.dropout == dropout
            norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
            assert {(norm.momentum, norm.eps) for norm in norms} == {(0.01, 1e-3)}
