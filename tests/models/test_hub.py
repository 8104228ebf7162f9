"""What ``--pretrained`` may name; the hub's real client against a server on this machine that speaks for the hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from file_server import COMMIT, FileServer
from safetensors.torch import save

from kinelite.errors import SetupError, UsageError
from kinelite.models.checkpoints.hub import find_weights
from kinelite.models.encoder import timm_weights
from kinelite.models.registry import Card, Release
from kinelite.types import InputSpec

FILE = "/owner/net/resolve/main/model.safetensors"
WEIGHTS = save({"w": torch.arange(50_000.0)})
CODE = """
import json, sys, time
time.sleep = lambda seconds: None  # the client waits longer and longer between its attempts
from kinelite.errors import KINELITE_ERRORS
from kinelite.models.checkpoints.hub import find_weights, from_hub, hub_config
out = []
for source in json.loads(sys.argv[1]):
    try:
        if source.startswith("config:"):
            out.append(hub_config(source.removeprefix("config:")))
        else:
            source, _, checksum = source.partition("#")
            out.append(str(from_hub(source, checksum)))
    except KINELITE_ERRORS as error:
        out.append([type(error).__name__, str(error)])
print(json.dumps(out))
"""


@dataclass
class Machine:
    """A machine with a cache of its own, whose hub is ``server``."""

    server: FileServer
    cache: Path

    def environment(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "http", "HTTP"))}
        own = {"HF_ENDPOINT": self.server.address, "HF_HOME": str(self.cache), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        return kept | own | {"HF_HUB_ETAG_TIMEOUT": "5"} | more

    def fetch(self, *sources: str, **more: str) -> list[Any]:
        """For each source the path of the file, or the kind and the text of the error."""
        command = [sys.executable, "-c", CODE, json.dumps(sources)]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment(**more), check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def blobs(self) -> list[Path]:
        return [p for p in (self.cache / "hub" / "models--owner--net" / "blobs").iterdir() if p.is_file()]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with FileServer({FILE: WEIGHTS}) as server:
        yield Machine(server, tmp_path / "hf")


def refused(found: Any, kind: str, *words: str) -> None:
    assert isinstance(found, list), found
    assert found[0] == kind, found
    for word in words:
        assert word in found[1]


def test_fetched_once_and_then_asked_for_without_its_content(machine: Machine) -> None:
    (path,) = machine.fetch("hf:owner/net")
    assert Path(path).read_bytes() == WEIGHTS
    named = "hf:owner/net/model.safetensors"
    assert machine.fetch(named, "hf:owner/net@main", f"hf:owner/net@{COMMIT}/model.safetensors") == [path] * 3
    assert len(machine.server.bodies()) == 1


def test_offline_and_without_a_server_the_cache_serves(machine: Machine) -> None:
    first = machine.fetch("hf:owner/net")
    count = len(machine.server.asked)
    assert machine.fetch("hf:owner/net", HF_HUB_OFFLINE="1") == first
    assert len(machine.server.asked) == count
    with FileServer() as gone:
        pass
    assert machine.fetch("hf:owner/net", HF_ENDPOINT=gone.address) == first


def test_offline_without_a_copy_says_where_the_file_is(machine: Machine) -> None:
    (found,) = machine.fetch("hf:owner/net@v1/w.pth", HF_HUB_OFFLINE="1")
    page = f"{machine.server.address}/owner/net/resolve/v1/w.pth"
    refused(found, "SetupError", "HF_HUB_OFFLINE is set", page, "--pretrained w.pth", "MODEL@w.pth")
    assert machine.server.asked == []


def test_no_server_says_where_the_file_is(machine: Machine) -> None:
    with FileServer() as gone:
        pass
    (found,) = machine.fetch("hf:owner/net", HF_ENDPOINT=gone.address)
    refused(found, "SetupError", "Could not fetch hf:owner/net/model.safetensors", "--pretrained model.safetensors")


def test_a_damaged_copy_is_noticed_and_fetched_again(machine: Machine) -> None:
    (path,) = machine.fetch("hf:owner/net")
    (blob,) = machine.blobs()
    blob.write_bytes(WEIGHTS[:-4] + bytes(4))
    (found,) = machine.fetch("hf:owner/net", HF_HUB_OFFLINE="1")
    refused(found, "SetupError", "copy in the cache is damaged", "HF_HUB_OFFLINE is set")
    assert machine.fetch("hf:owner/net") == [path]
    assert Path(path).read_bytes() == WEIGHTS


def test_content_that_is_not_what_the_hub_says_is_thrown_away(machine: Machine) -> None:
    machine.server.spoilt = True
    (found,) = machine.fetch("hf:owner/net")
    refused(found, "SetupError", "fetched twice", "where the hub says")
    assert machine.blobs() == []


def test_the_checksum_of_a_release_is_compared_too(machine: Machine) -> None:
    (found,) = machine.fetch("hf:owner/net#abcdef01")
    refused(found, "SetupError", "and the release is abcdef01")


def test_a_transfer_that_breaks_off_goes_on(machine: Machine) -> None:
    machine.server.cuts = [70_000]
    (path,) = machine.fetch("hf:owner/net")
    assert Path(path).read_bytes() == WEIGHTS
    assert len(machine.server.bodies()) == 2


def test_a_transfer_that_always_breaks_off_is_an_error_and_leaves_no_file(machine: Machine) -> None:
    machine.server.cuts = [0] * 50
    (found,) = machine.fetch("hf:owner/net")
    refused(found, "SetupError", "Could not fetch")
    assert machine.blobs() == []


def test_names_that_the_hub_does_not_have(machine: Machine) -> None:
    machine.server.status["/owner/secret/resolve/main/model.safetensors"] = 401
    machine.server.status["/owner/gated/resolve/main/model.safetensors"] = 403
    machine.server.files["/owner/other/resolve/main/x3d.pth"] = b"x"
    absent, unnamed, secret, gated = machine.fetch(
        "hf:owner/net/w.pth", "hf:owner/other", "hf:owner/secret", "hf:owner/gated"
    )
    refused(absent, "UsageError", "no file of that name on the hub", "hf:owner/net/w.pth")
    refused(unnamed, "UsageError", "neither model.safetensors nor pytorch_model.bin", "one of x3d.pth")
    refused(secret, "SetupError", "a login", "hf auth login")
    refused(gated, "SetupError", "a login", f"{machine.server.address}/owner/gated")


def test_the_config_beside_the_weights(machine: Machine) -> None:
    machine.server.files["/owner/net/resolve/main/config.json"] = b'{"id2label": {"0": "wave"}}'
    assert machine.fetch("config:hf:owner/net", "config:hf:owner/none") == [{"id2label": {"0": "wave"}}, {}]


@pytest.mark.parametrize("name", ["hf:net", "hf:owner/", "hf:owner/net@"])
def test_what_is_no_hub_name(name: str) -> None:
    with pytest.raises(UsageError, match="hf:OWNER/REPOSITORY"):
        find_weights(name)


CARD = Card(
    "net",
    "",
    "",
    "",
    "",
    InputSpec(4, 32),
    None,
    "",
    releases=(Release("k400", "https://example.org/w.pth", "kinetics400, alphabetical", "MIT", "00"),),
)


def test_an_unknown_release_is_answered_with_those_that_there_are(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"Unknown weights 'k40'\. Nearest: k400\..*kinelite info net"):
        find_weights("k40", CARD)
    (tmp_path / "k40").write_bytes(b"")
    assert find_weights("k40", CARD).path == Path("k40")


def test_a_release_is_fetched_by_name_or_address(tmp_path: Path, monkeypatch: Any) -> None:
    asked = []

    def fetch(*given: str) -> Path:
        asked.append(given)
        return tmp_path

    monkeypatch.setattr("kinelite.models.checkpoints.hub.fetch", fetch)
    by_name, by_address = find_weights("k400", CARD), find_weights("https://example.org/w.pth", CARD)
    assert asked == [("https://example.org/w.pth", "00")] * 2
    assert by_name.label == "k400 (https://example.org/w.pth)"
    assert by_address.release == by_name.release == CARD.releases[0]


IMAGE = """
from pathlib import Path
from huggingface_hub import constants
from kinelite.models.encoder import timm_weights
for _ in range(3):
    print(float(sum(v.sum() for v in timm_weights("test_vit.r160_in1k").values())))
    if _ == 1:
        for blob in Path(constants.HF_HUB_CACHE).glob("*/blobs/*"):
            blob.write_bytes(blob.read_bytes()[:-40])
"""


def test_image_weights_of_timm_come_from_the_hub_then_from_the_cache_and_anew_when_damaged(machine: Machine) -> None:
    image = timm.create_model("test_vit", num_classes=1000).state_dict()
    hub_id = timm.get_pretrained_cfg("test_vit.r160_in1k").hf_hub_id
    machine.server.files[f"/{hub_id}/resolve/main/model.safetensors"] = save(image)
    done = subprocess.run(
        [sys.executable, "-c", IMAGE], capture_output=True, text=True, env=machine.environment(), check=True
    )
    body = sum(float(v.sum()) for k, v in image.items() if not k.startswith("head."))
    assert [float(line) for line in done.stdout.split()] == pytest.approx([body] * 3, rel=1e-4)
    assert len(machine.server.bodies()) == 2


def test_image_weights_that_cannot_be_had_are_named_with_their_address() -> None:
    with pytest.raises(SetupError) as error:
        timm_weights("test_vit.r160_in1k")
    for word in ("test_vit.r160_in1k", "/timm/test_vit.r160_in1k/resolve/main/model.safetensors", "--pretrained"):
        assert word in str(error.value)
