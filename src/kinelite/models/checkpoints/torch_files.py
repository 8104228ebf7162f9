"""What ``torch.save`` wrote, read without running anything that is in it."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kinelite.errors import UsageError

LEGACY = b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
"""Number that every file of the format before PyTorch 1.6 starts with, a few bytes of pickle after its beginning."""
NESTED = ("state_dict", "model_state", "model_state_dict", "model", "net", "module", "weights", "params")
AVERAGED = ("ema", "model_ema", "ema_state_dict", "state_dict_ema", "ema_state")
WRAPPERS = ("module.", "_orig_mod.")
"""First words that wrappers put before every name: DataParallel and torch.compile."""
_HARMLESS: list[Any] = [
    Namespace,
    np.dtype,
    np.ndarray,
    np._core.multiarray.scalar,  # type: ignore[attr-defined]
    np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    *{type(np.dtype(kind)) for kind in "?bhilqBHILQefd"},
]
"""Classes that published files carry beside their weights (best accuracy, flags) and that hold plain values only."""
_CONVERT = (
    " To read it would be to run what its maker wrote into it. Where you trust them, convert it once: "
    "python -c \"import torch; w = torch.load('{file}', map_location='cpu', weights_only=False); "
    "torch.save(w.get('state_dict', w.get('model_state', w.get('model', w))), '{stem}.converted.pth')\""
)


def read_torch(path: Path) -> dict[str, Tensor]:
    """The tensors of a model in a zip or legacy file of ``torch.save``, on the CPU, by name.

    Whatever else is in the file (epoch, optimiser, options) is left out. Zip files stay mapped: only what is used is
    read. Raises UsageError for a file that is cut off, is TorchScript, holds no weights, or names a class.
    """
    zipped = zipfile.is_zipfile(path)
    if zipped:
        _refuse_other_archives(path)
    try:
        # An open file is not mapped, but its name is no matter to torch, which takes *.safetensors for what it says.
        with path.open("rb") as file, torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the pickle's protocol; what it means is said below
            mapped = zipped and path.suffix != ".safetensors"
            found = torch.load(path if mapped else file, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise _refused(path, str(error)) from error
    except Exception as error:  # torch raises whatever the damage leads to: EOFError, RuntimeError, KeyError, ...
        reason = str(error).strip().split("\n")[0].split(". ")[0] or type(error).__name__
        raise UsageError(f"{path} is not a whole torch file ({reason}). Copy or download it again.") from error
    return unwrapped(found, path)


def unwrapped(found: Any, path: Path) -> dict[str, Tensor]:
    """The state dict within what a file held: below state_dict, model_state, model or an average, without 'module.'.

    Raises UsageError naming what there is when no state dict is among it.
    """
    state = _state_dict(found)
    if state is None:
        held = f"It holds {', '.join(map(str, list(found)[:8]))}." if isinstance(found, Mapping) and found else ""
        raise UsageError(f"{path} holds no weights by name. {held}".strip())
    return without_wrappers(state)


def without_wrappers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without the words that a wrapper put before each of them."""
    names = dict(state)
    while wrapper := next((w for w in WRAPPERS if names and all(name.startswith(w) for name in names)), None):
        names = {name.removeprefix(wrapper): tensor for name, tensor in names.items()}
    return names


def _state_dict(found: Any) -> dict[str, Tensor] | None:
    if isinstance(found, nn.Module) or not isinstance(found, Mapping):
        return None
    tensors = {k: _plain(v) for k, v in found.items() if isinstance(k, str) and isinstance(v, Tensor)}
    inner = [found[key] for key in (*NESTED, *AVERAGED) if isinstance(found.get(key), Mapping)]
    # Names with dots are parameters; a lone tensor beside a nested dict is a counter or the best accuracy.
    if tensors and (not inner or any("." in name for name in tensors)):
        return tensors
    for nested in inner:
        if state := _state_dict(nested):
            return state
    others = [state for key, value in found.items() if "optim" not in str(key) and (state := _state_dict(value))]
    return others[0] if len(others) == 1 and not tensors else tensors or None


def _plain(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return tensor.dequantize() if tensor.is_quantized else tensor


def _refuse_other_archives(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name.partition("/")[2] or name for name in archive.namelist()}
    if "constants.pkl" in members:
        raise UsageError(
            f"{path} is a TorchScript program, and programs are not run. Save its weights where you trust it: "
            f"python -c \"import torch; torch.save(torch.jit.load('{path}', map_location='cpu').state_dict(), "
            f"'{path.stem}.weights.pth')\""
        )
    if "data.pkl" not in members:
        raise UsageError(f"{path} is a zip archive of {', '.join(sorted(members)[:4])}. Unpack it and name the file.")


def _refused(path: Path, message: str) -> UsageError:
    named = re.search(r"GLOBAL ([\w.]+)|class ([\w.]+)|function <[\w ]+ ([\w.]+)", message)
    what = next(filter(None, named.groups()), "") if named else ""
    convert = _CONVERT.format(file=path, stem=path.stem)
    if what:
        return UsageError(f"{path} is a pickle that holds more than tensors: it names {what}.{convert}")
    reason = message.rpartition("WeightsUnpickler error: ")[2].strip().split("\n")[0] or "unknown content"
    if reason.startswith("Unsupported operand"):
        reason = "a pickle protocol above 3, which the safe reader does not take"
    return UsageError(f"{path} is not a whole torch file, or holds more than tensors ({reason}).{convert}")
