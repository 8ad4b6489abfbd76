"""Headless Chromium for tests, driven through a pipe by its own protocol: no port, no library, no network."""

from __future__ import annotations

import base64
import io
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image

FLAGS = (
    "--headless", "--no-sandbox", "--hide-scrollbars", "--no-first-run", "--disable-background-networking", "--disable-sync",
    "--disable-component-update", "--disable-extensions", "--disable-features=Translate,OptimizationHints,MediaRouter",
    "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--force-device-scale-factor=1", "--mute-audio",
    "--remote-debugging-pipe",
)  # fmt: skip
PATIENCE_S = 60.0


def chromium() -> str | None:
    """The browser's program, if there is one."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One page of one browser; what it logs and asks for is collected."""

    def __init__(self, folder: Path, width: int = 1000, height: int = 800) -> None:
        to_read, self._to = os.pipe()
        self._from, to_write = os.pipe()
        program = chromium()
        assert program is not None

        # The protocol's own numbers are 3, which is read, and 4, which is written: bash gives them.
        command = [program, *FLAGS, f"--user-data-dir={folder}", f"--window-size={width},{height}", "about:blank"]
        renumbered = ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write}', "bash", *command]
        self._process = subprocess.Popen(
            renumbered, pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_read)
        os.close(to_write)
        self._numbers, self._left, self.events = itertools.count(1), b"", list[dict[str, Any]]()
        targets = self._ask("Target.getTargets", {}, None)["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self._ask("Target.attachToTarget", {"targetId": page, "flatten": True}, None)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.ask("Page.setLifecycleEventsEnabled", enabled=True)
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *failure: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def ask(self, method: str, **parameters: Any) -> Any:
        """A command of the protocol, of the page."""
        return self._ask(method, parameters, self._session)

    def open(self, url: str) -> None:
        """Load a page, to its end."""
        self.events.clear()
        loader, end = self.ask("Page.navigate", url=url).get("loaderId"), time.monotonic() + PATIENCE_S
        loaded = {"name": "load", "loaderId": loader}
        while not any(loaded.items() <= event["params"].items() for event in self._of("Page.lifecycleEvent")):
            self._receive(end)

    def value(self, expression: str) -> Any:
        """What an expression is in the page; promises are awaited."""
        answer = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """The value of an expression once it is truthy."""
        end = time.monotonic() + PATIENCE_S
        while not (found := self.value(expression)):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.05)
        return found

    def picture(self, *, whole: bool = False) -> np.ndarray:
        """(rows, cols, 3) what is seen."""
        data = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))

    def complaints(self) -> list[str]:
        """Errors and warnings of scripts, of the content policy, and of the browser about the page."""
        found = [event["params"]["exceptionDetails"]["text"] for event in self._of("Runtime.exceptionThrown")]
        entries = [event["params"]["entry"] for event in self._of("Log.entryAdded")]
        found += [entry["text"] for entry in entries if entry["level"] == "error"]
        calls = [event["params"] for event in self._of("Runtime.consoleAPICalled")]
        found += [str(call["args"]) for call in calls if call["type"] in ("error", "warning", "assert")]
        return found

    def requests(self) -> list[str]:
        """What was asked for, but for the text of the page itself and its data URIs."""
        urls = [event["params"]["request"]["url"] for event in self._of("Network.requestWillBeSent")]
        return [url for url in urls if not url.startswith(("data:", "blob:"))]

    def _of(self, method: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["method"] == method]

    def _ask(self, method: str, parameters: dict[str, Any], session: str | None) -> Any:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + PATIENCE_S
        while True:
            answer = self._receive(end)
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _receive(self, end: float) -> dict[str, Any]:
        """The next message; events are kept."""
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._from], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            self._left += os.read(self._from, 1 << 20)
        text, _, self._left = self._left.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if "method" in message:
            self.events.append(message)
        return message
