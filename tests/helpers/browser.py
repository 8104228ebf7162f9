"""A headless Chromium, driven over the W3C WebDriver protocol that ChromeDriver speaks; no package is needed for it."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)


def missing() -> str | None:
    """What is not installed; None when a browser can be started."""
    if CHROMIUM and DRIVER:
        return None
    return "needs a browser and its driver: apt-get install chromium chromium-driver"


class Browser:
    """One window."""

    def __init__(self, address: str, session: str) -> None:
        self.base = f"{address}/session/{session}"

    def open(self, page: Path) -> None:
        """Load a file."""
        _ask(f"{self.base}/url", {"url": page.resolve().as_uri()})

    def run(self, script: str, *args: Any) -> Any:
        """What a script in the page returns."""
        return _ask(f"{self.base}/execute/sync", {"script": script, "args": list(args)})

    def click(self, selector: str) -> None:
        """Click on the first element that a CSS selector finds, as a reader would."""
        found = _ask(f"{self.base}/element", {"using": "css selector", "value": selector})
        _ask(f"{self.base}/element/{next(iter(found.values()))}/click", {})

    def hover(self, x: float, y: float) -> None:
        """Move the mouse to a place of the window, in pixels."""
        move = {"type": "pointerMove", "duration": 0, "x": round(x), "y": round(y)}
        _ask(f"{self.base}/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": [move]}]})

    def look(self, width: int, height: int, dark: bool = False) -> None:
        """Size of the window and the theme that the reader prefers."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._devtools("Emulation.setDeviceMetricsOverride", size)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._devtools("Emulation.setEmulatedMedia", {"features": [theme]})

    def screenshot(self, file: Path) -> None:
        """The window as a PNG file."""
        file.write_bytes(base64.b64decode(_ask(f"{self.base}/screenshot")))

    def complaints(self) -> list[str]:
        """What the console holds that is worse than a notice; each is told once."""
        found = _ask(f"{self.base}/se/log", {"type": "browser"})
        return [entry["message"] for entry in found if entry["level"] in ("SEVERE", "WARNING")]

    def _devtools(self, command: str, params: dict[str, Any]) -> None:
        _ask(f"{self.base}/goog/cdp/execute", {"cmd": command, "params": params})


def _ask(address: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
    # Proxies are for other machines.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=300) as answer:
        return json.load(answer)["value"]


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with an empty profile in the folder ``profile``; ended at the end."""
    assert CHROMIUM
    assert DRIVER
    log = profile.with_suffix(".log")
    with open(log, "wb") as file, subprocess.Popen([DRIVER, "--port=0"], stdout=file, stderr=file) as driver:
        try:
            address = f"http://127.0.0.1:{_port(log)}"
            options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={profile}"]}
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            made = _ask(f"{address}/session", {"capabilities": {"alwaysMatch": wanted}})
            yield Browser(address, made["sessionId"])
            _ask(f"{address}/session/{made['sessionId']}", method="DELETE")
        finally:
            driver.terminate()


def _port(log: Path) -> int:
    for _ in range(300):
        words = log.read_text(errors="replace").partition("started successfully on port ")[2].split(".")
        if words[0].strip().isdigit():
            return int(words[0])
        time.sleep(0.1)
    raise AssertionError(f"the driver did not start: {log.read_text(errors='replace')}")
