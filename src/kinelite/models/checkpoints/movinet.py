"""Published MoViNet weights: TensorFlow model garden, its PyTorch port by Atze00, and TFLite files made float again.

Stream gates. Two functions are called hard sigmoid: ``clip(0.2 x + 0.5)``, Keras's, with which the published stream
weights were trained (TF-Hub and the port agree on them with it), and ``relu6(x + 3) / 6``, which the model garden's
source means today (its issue 13559) and which TFLite files hold, with 0.16667 for a sixth. Our models compute the
second. Since the first is ``relu6(1.2 x + 3) / 6``, a factor of 1.2 on the gate's last layer turns published weights
into the same function. Weights that today's source trained have the published ones' names: they would need no factor.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from kinelite.models.checkpoints.layout import Layout, State

_GATE = "gate.expand."
_WORDS = (
    (r"/_?expansion/", "/expand/"),
    (r"/_?feature/", "/depthwise/"),
    (r"/_?projection/", "/project/"),
    (r"/depthwise/(.*)_temporal(?=/)", r"/temporal/\1"),
    (r"/(?:se|_attention)/_?se_(reduce|expand)/", r"/gate.\1/"),
    (r"/(?:skip/skip_project|_skip/project)/", "/skip/"),
    (r"/(?:_mobile_bottleneck/_)?(?:rezero/)?scale$", "/gain"),
    # Ordinary layers come once or twice in a name, numbered or not; a norm may come after one.
    (r"/(?:_?(?:depthwise_)?conv(?:[23]d)?(?:_temporal)?(?:_\d+)?/)+(?=\w*kernel$|bias$)", "/conv/"),
    (r"/(?:conv[23]d(?:_temporal)?/)?(?:bn|_batch_norm)(?:_temporal)?/", "/norm/"),
    (r"norm/gamma$", "norm/weight"),
    (r"norm/beta$", "norm/bias"),
    (r"norm/moving_mean$", "norm/running_mean"),
    (r"norm/moving_variance$", "norm/running_var"),
    # Linear layers.
    (r"^(.*(?:gate\.\w+|^dense|^head))/conv/", r"\1/"),
    (r"/", "."),
)
_VARIABLES = (
    (r":0$", ""),
    (r"^stem/stem/", "encoder.stem/"),
    (r"^head/project/", "encoder.project/"),
    (r"^classifier_head(?:_\d+)?/head/", "dense/"),
    (r"^classifier_head(?:_\d+)?/classifier/", "head/"),
    (r"^b(?:lock)?(\d+)[_/]l(?:ayer)?(\d+)/(?:bneck/)?", r"encoder.blocks.\1.\2/"),
    *_WORDS,
)
_OBJECTS = (
    (r"/\.ATTRIBUTES/VARIABLE_VALUE$", ""),
    (r"^.*layer_with_weights-\d+/_stem/", "encoder.stem/"),
    (r"^.*layer_with_weights-\d+/_project/", "encoder.project/"),
    (r"^.*layer_with_weights-\d+/_head/", "dense/"),
    (r"^.*layer_with_weights-\d+/_classifier/", "head/"),
    (r"^.*layer_with_weights-(\d+)/(?=_)", r"encoder.blocks.#\1/"),
    *_WORDS,
)
_BOOKKEEPING = (r"OPTIMIZER_SLOT", r"^_?optimizer\b", r"save_counter", r"global_step", r"keras_api", r"OBJECT_GRAPH")
_PORT = (
    (r"^conv1\.conv_1\.", "encoder.stem."),
    (r"^conv7\.conv_1\.", "encoder.project."),
    (r"^classifier\.0\.conv_1\.conv[23]d\.", "dense."),
    (r"^classifier\.3\.conv_1\.conv[23]d\.", "head."),
    (r"^blocks\.b(\d+)_l(\d+)\.", r"encoder.blocks.\1.\2."),
    (r"\.(expand|project)\.conv_1\.", r".\1."),
    (r"\.deep\.conv_1\.", ".depthwise."),
    (r"\.deep\.conv_2\.", ".temporal."),
    (r"\.se\.fc1\.conv_1\.conv[23]d\.", ".gate.reduce."),
    (r"\.se\.fc2\.conv_1\.conv[23]d\.", ".gate.expand."),
    (r"\.res\.[01]\.conv_1\.", ".skip."),
    (r"\.alpha$", ".gain"),
    (r"\.conv[23]d\.", ".conv."),
)
_TFLITE = (
    (r"^stem/", "encoder.stem/"),
    (r"^head/project/", "encoder.project/"),
    (r"^head/classifier/", "head./"),
    (r"^head/dense/", "dense./"),
    (r"^block(\d+)_layer(\d+)/", r"encoder.blocks.\1.\2/"),
    (r"/expansion/", ".expand/"),
    (r"/feature_spatial/", ".depthwise/"),
    (r"/feature_temporal/", ".temporal/"),
    (r"/projection/", ".project/"),
    (r"/se_(reduce|expand)/", r".gate.\1./"),
    (r"/skip_project/", ".skip/"),
    (r"/rezero$", ".gain"),
    (r"\./", "."),
    (r"/weight$", ".conv.weight"),
    (r"/bias$", ".norm.bias"),
)


def _from_tensorflow(model: nn.Module, state: State) -> State:
    """Blocks by their place, kernels with output channels first."""
    places = [f"{i}.{j}" for i, stage in enumerate(_blocks(model)) for j in range(len(stage))]
    found: State = {}
    for name, tensor in state.items():
        before, mark, rest = name.partition("#")
        number, _, rest = rest.partition(".")
        if mark and 1 <= int(number) <= len(places):
            name = f"{before}{places[int(number) - 1]}.{rest}"
        if name.endswith("kernel") and tensor.ndim >= 4:
            # Kernels are [.., in, out], those of DepthwiseConv2D [.., channels, multiplier].
            tensor = tensor.movedim(-1, 0).movedim(-1, 1)
            tensor = tensor.transpose(0, 1) if name.endswith("depthwise_kernel") else tensor
        found[name.replace("depthwise_kernel", "weight").replace("kernel", "weight")] = tensor
    return _in_our_shapes(model, found)


def _from_tflite(model: nn.Module, state: State) -> State:
    """Norms that only add: whoever made the file folded their scales into the kernels."""
    found: State = {}
    for name, tensor in state.items():
        if name.endswith("weight") and tensor.ndim == 4:
            depthwise = ".depthwise." in name or ".temporal." in name
            tensor = tensor.permute(3, 0, 1, 2) if depthwise else tensor.permute(0, 3, 1, 2)
        if name.endswith(f"{_GATE}bias"):
            tensor = tensor - 3  # relu6(x + 3) has its 3 in the bias there
        if re.search(r"blocks\.\d+\.\d+\.project\.conv", name):
            tensor = tensor * (0.16667 * 6)  # and ends with that factor in place of a sixth; the projection is linear
        found[name] = tensor
        if name.endswith("norm.bias"):
            norm = name.removesuffix("bias")
            found[f"{norm}weight"] = torch.ones_like(tensor)
            found[f"{norm}running_mean"] = torch.zeros_like(tensor)
            found[f"{norm}running_var"] = torch.full_like(tensor, 1 - _EPS)
    return _in_our_shapes(model, found)


_EPS = 1e-3


def _in_our_shapes(model: nn.Module, state: State) -> State:
    """Axes of length 1 as we have them; what differs in more than those stays for the caller to tell."""
    own = model.state_dict()
    # The classifier is not yet named after its task.
    flat = {name: tensor.flatten(1) for name, tensor in state.items() if name == "head.weight" and tensor.ndim > 1}
    return {name: _like(tensor, own.get(name, tensor)) for name, tensor in (state | flat).items()}


def _like(tensor: Tensor, own: Tensor) -> Tensor:
    same = [n for n in tensor.shape if n != 1] == [n for n in own.shape if n != 1]
    return tensor.reshape(own.shape) if same else tensor


def _trained_by_keras(model: nn.Module, state: State) -> State:
    return {name: tensor * 1.2 if _GATE in name else tensor for name, tensor in state.items()}


def _blocks(model: Any) -> Iterator[Any]:
    return iter(model.encoder.blocks)


def _layouts(*, stream: bool) -> tuple[Layout, ...]:
    def keras(convert: Any) -> Any:
        return (lambda model, state: _trained_by_keras(model, convert(model, state))) if stream else convert

    tensorflow = keras(_from_tensorflow)
    return (
        Layout("Atze00/MoViNet-pytorch", (r"^blocks\.b0_l0\.",), _PORT, convert=keras(_in_our_shapes)),
        Layout("TensorFlow model garden", (r"layer_with_weights-0/_stem/",), _OBJECTS, _BOOKKEEPING, tensorflow),
        Layout("TensorFlow model garden, variables", (r"^stem/stem/",), _VARIABLES, _BOOKKEEPING, tensorflow),
    )


BASE_LAYOUTS = _layouts(stream=False)
STREAM_LAYOUTS = (
    *_layouts(stream=True),
    Layout("TFLite, dequantised", (r"^block0_layer0/feature_spatial/weight$",), _TFLITE, convert=_from_tflite),
)
