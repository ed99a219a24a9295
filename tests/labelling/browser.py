"""A headless Chromium, driven by the DevTools protocol, for tests of pages."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Enter": 13, "Tab": 9, " ": 32}
SECONDS = 20.0


class Page:
    """One page in a context of its own, so that its cookies are nobody else's."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.log: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=SECONDS))
            if message.get("method") == "Log.entryAdded":
                self.log.append(message["params"]["entry"]["text"])
            if message.get("method") == "Runtime.exceptionThrown":
                self.log.append(message["params"]["exceptionDetails"]["text"])
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                found: dict[str, Any] = message["result"]
                return found

    def evaluate(self, expression: str) -> Any:
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def wait(self, expression: str) -> None:
        """Wait until an expression is true; errors while a page changes are passed over."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            with contextlib.suppress(RuntimeError):
                if self.evaluate(expression):
                    return
            time.sleep(0.01)
        raise TimeoutError(f"{expression} at {self.evaluate('location.href')}: {self.text()[:500]}")

    def goto(self, address: str) -> None:
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.protocol !== 'about:'")

    def arrive(self, path: str) -> None:
        """Wait until the page with this path is there."""
        self.wait(f"location.pathname === {path!r} && document.readyState === 'complete'")

    def text(self) -> str:
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def path(self) -> str:
        return str(self.evaluate("location.pathname"))

    def _leave(self, action: Any) -> None:
        """Carry out what loads another page, and wait until it is there."""
        self.evaluate("window.former = true")
        action()
        self.wait("!window.former && document.readyState === 'complete'")

    def click(self, selector: str) -> None:
        """Click at the middle of an element with the mouse, and wait for the page that follows."""
        self._leave(lambda: self.press(selector))

    def press(self, selector: str) -> None:
        found = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView();"
            " const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=found[0], y=found[1], button="left", clickCount=1)

    def key(self, name: str, leaves: bool = False) -> None:
        def action() -> None:
            text = {"Enter": "\r", " ": " "}.get(name, name if len(name) == 1 else "")
            code = KEYS.get(name, ord(name.upper()) if len(name) == 1 else 0)
            down = {"type": "keyDown", "key": name, "windowsVirtualKeyCode": code} | ({"text": text} if text else {})
            self.call("Input.dispatchKeyEvent", **down)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=name, windowsVirtualKeyCode=code)

        if leaves:
            self._leave(action)
        else:
            action()

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def size(self, width: int, height: int, dark: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def violations(self, axe: str) -> list[str]:
        """Return what axe finds wrong with the page, in words."""
        self.evaluate(axe)
        found = self.evaluate("axe.run().then(r => r.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html)))")
        assert isinstance(found, list)
        return found


class Browser:
    def __init__(self, port: int, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._root = f"http://127.0.0.1:{port}"
        self.port = port

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self._root + path) as reply:
            return json.load(reply)

    def page(self) -> Page:
        """Open a page whose cookies are its own."""
        from websockets.sync.client import connect

        with connect(self._get("/json/version")["webSocketDebuggerUrl"]) as socket:

            def call(method: str, **parameters: Any) -> Any:
                socket.send(json.dumps({"id": 1, "method": method, "params": parameters}))
                while True:
                    message = json.loads(socket.recv(timeout=SECONDS))
                    if message.get("id") == 1:
                        return message["result"]

            context = call("Target.createBrowserContext")["browserContextId"]
            target = call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        address = f"ws://127.0.0.1:{self.port}/devtools/page/{target}"
        return Page(self._stack.enter_context(connect(address, max_size=2**26)))


@contextlib.contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """Start a browser for the block; the test is skipped where there is none."""
    pytest.importorskip("websockets")
    program = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
    )
    if not program:
        pytest.skip("needs the browser Chromium")
    words = [
        program,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-first-run",
        "--remote-debugging-port=0",
        "--remote-allow-origins=*",
        f"--user-data-dir={folder}",
        "about:blank",
    ]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port, until = folder / "DevToolsActivePort", time.monotonic() + SECONDS
        while not (port.is_file() and port.read_text().strip()):
            if time.monotonic() > until or process.poll() is not None:
                pytest.skip("the browser Chromium does not start here")
            time.sleep(0.05)
        with contextlib.ExitStack() as stack:
            yield Browser(int(port.read_text().split()[0]), stack)
    finally:
        process.terminate()
        process.wait()
