"""A headless Chromium that shows pages to tests, driven by the W3C's WebDriver protocol.

Debian's chromium and chromium-driver are all it needs: the protocol is JSON over HTTP.
"""

import base64
import contextlib
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip

# Web components keep what they show in shadow trees, and put what is theirs into slots.
WALK = """
function* walk(node) {
  yield node;
  const slotted = node.tagName === 'SLOT' ? node.assignedNodes({flatten: true}) : [];
  for (const child of slotted.length ? slotted : (node.shadowRoot || node).childNodes)
    yield* walk(child);
}
"""
VISIBLE_TEXT = f"""{WALK}
const range = document.createRange(), found = [];
for (const node of walk(document.body)) {{
  if (node.nodeType !== Node.TEXT_NODE) continue;
  range.selectNode(node);
  const hidden = node.parentElement && getComputedStyle(node.parentElement).visibility === 'hidden';
  if (range.getClientRects().length && !hidden) found.push(node.data.trim());
}}
return found.filter((text) => text);
"""
CLICK = f"""{WALK}
for (const node of walk(document.body))
  if (node.matches?.(arguments[0]) && node.textContent.trim() === arguments[1])
    return node.click() || true;
return false;
"""


class Browser:
    """One window."""

    def __init__(self, driver):
        self.driver = driver
        self.session = ""

    def command(self, path, method="POST", **arguments):
        request = urllib.request.Request(
            f"{self.driver}/session{self.session}{path}",
            json.dumps(arguments).encode() if method == "POST" else None,
            {"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def devtools(self, command, **parameters):
        return self.command("/goog/cdp/execute", cmd=command, params=parameters)

    def open(self, url, width=1280, height=900, scheme="light"):
        """Open a page in a window of a size, as a reader who prefers light or dark sees it."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.devtools("Emulation.setDeviceMetricsOverride", **size)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.devtools("Emulation.setEmulatedMedia", features=[feature])
        # Of one application another page would not be loaded anew.
        self.command("/url", url="about:blank")
        self.command("/url", url=url)

    def run(self, script, *arguments):
        return self.command("/execute/sync", script=script, args=arguments)

    def texts(self):
        """Return the texts on the page in order, shadow trees included."""
        return self.run(VISIBLE_TEXT)

    def click(self, selector, text):
        """Click the first element with a text, also in a menu that is closed."""
        assert self.run(CLICK, selector, text), f"no {selector} says {text}"

    def wait_for(self, condition, seconds=60):
        """Return the first true value of ``condition(texts)``; fail with what the page says."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := condition(self.texts()):
                return value
            time.sleep(0.2)
        return pytest.fail(f"after {seconds} s the page says {self.texts()}")

    def screenshot(self, path, whole=False):
        shot = self.devtools("Page.captureScreenshot", captureBeyondViewport=whole)
        Path(path).write_bytes(base64.b64decode(shot["data"]))


@contextlib.contextmanager
def chromium():
    """Yield a :class:`Browser`; skip the test where Chromium is not installed."""
    driver, browser = shutil.which("chromedriver"), shutil.which("chromium")
    if not driver or not browser:
        pytest.skip("chromium and chromedriver are not installed (apt-get: chromium-driver)")
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, text=True) as process,
    ):
        try:
            started = "started successfully on port "
            line = next(line for line in process.stdout if started in line)
            port = int(line.partition(started)[2].strip().rstrip("."))
            window = Browser(f"http://localhost:{port}")
            options = {"binary": browser, "args": [*FLAGS, f"--user-data-dir={profile}"]}
            wanted = {"alwaysMatch": {"goog:chromeOptions": options}}
            window.session = f"/{window.command('', capabilities=wanted)['sessionId']}"
            yield window
            window.command("", "DELETE")
        finally:
            process.terminate()
