"""Debian's chromium without a screen, by the WebDriver protocol (W3C), spoken with urllib alone.

    with Browser(directory) as browser:
        browser.open(path.as_uri())
        assert browser.run("return document.title") == "..."

It reaches nothing but files and loopback.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import Request, urlopen

from tests.support.servers.debian import Program

_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)
TAB, ENTER = "\ue004", "\ue007"


class _Driver(Program):
    def command(self) -> Sequence[str]:
        return ["chromedriver", "--port=0", "--allowed-ips=127.0.0.1"]

    def is_ready(self) -> bool:
        return self.port() is not None

    def port(self) -> int | None:
        match = re.search(r"started successfully on port (\d+)", (self.directory / "output").read_text())
        return int(match[1]) if match else None


class Browser:
    """One window; *script* False: as with script switched off by the user."""

    def __init__(self, directory: Path, script: bool = True) -> None:
        self._driver, self._script = _Driver(directory / "driver"), script
        self._profile = directory / "profile"

    def __enter__(self) -> Self:
        self._driver.__enter__()
        preferences = {} if self._script else {"profile.managed_default_content_settings.javascript": 2}
        options = {"args": [*_OPTIONS, f"--user-data-dir={self._profile}"], "prefs": preferences}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self._base = f"http://127.0.0.1:{self._driver.port()}/session"
        self._base += "/" + self._call("POST", "", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        try:
            self._call("DELETE", "")
        finally:
            self._driver.__exit__(kind, error, place)

    def open(self, url: str) -> None:
        self._call("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a function's body in the page."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def look(self, width: int, height: int = 900, dark: bool = False) -> None:
        """Show the page on a screen of this size, by day or by night."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._devtools("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._devtools("Emulation.setEmulatedMedia", {"features": [scheme]})

    def press(self, *keys: str) -> None:
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def picture(self) -> bytes:
        """The whole page as PNG."""
        found = self._devtools("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
        return base64.b64decode(found["data"])

    def complaints(self) -> list[str]:
        """What the browser's console says of the pages, but for the browser's own."""
        said = [entry["message"] for entry in self._call("POST", "/se/log", {"type": "browser"})]
        return [message for message in said if not message.startswith("chrome://")]

    def _devtools(self, command: str, parameters: dict[str, Any]) -> Any:
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(self._base + path, data, method=method), timeout=120) as reply:
            return json.load(reply)["value"]
