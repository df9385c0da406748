#!/usr/bin/env python3
"""Opens the sample reports in headless Chromium: light, dark, narrow and on paper.

    report_page.py REPORT_SAMPLE [--keep FOLDER]

Fails where a page is not well-formed, says anything on the console, asks the network for anything, runs a script, scrolls sideways, has a
label that is cut off, lies on another or is hard to read. With --keep the pages, their screenshots and PDFs stay in FOLDER. Exit status 77
where there is no Chromium. Standard library only: the browser is driven over its debugging pipe."""
import base64
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PAGES = ("one", "three", "many", "sweep", "hostile", "empty")
DEADLINE_S = 120

# What a careful reader would complain about.
LOOK = r"""(() => {
  const found = [];
  if (document.compatMode !== 'CSS1Compat') found.push('quirks mode');
  if (window.pwned !== undefined || document.scripts.length) found.push('a script got in');
  if (document.images.length) found.push('an image got in');
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) found.push('the page scrolls sideways');
  const rgb = c => (c.match(/[\d.]+/g) || []).slice(0, 3).map(Number);
  const light = c => { const [r, g, b] = rgb(c).map(v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
                       return .2126 * r + .7152 * g + .0722 * b; };
  const contrast = (a, b) => { const [x, y] = [light(a), light(b)]; return (Math.max(x, y) + .05) / (Math.min(x, y) + .05); };
  const paper = getComputedStyle(document.body).backgroundColor;
  for (const e of document.querySelectorAll('h1, h2, h3, p, td, th, pre, li, svg text')) {
    const style = getComputedStyle(e), ink = e.namespaceURI.endsWith('svg') ? style.fill : style.color;
    if (contrast(ink, paper) < 4.5) { found.push('faint ' + e.tagName + ': ' + e.textContent.slice(0, 40)); break; }
  }
  for (const e of document.querySelectorAll('svg .line, svg .solid')) {
    const style = getComputedStyle(e);
    if (contrast(e.tagName === 'path' ? style.stroke : style.fill, paper) < 2.9) { found.push('faint line ' + e.getAttribute('class')); break; }
  }
  document.querySelectorAll('svg').forEach((svg, n) => {
    const frame = svg.getBoundingClientRect(), boxes = [];
    if (svg.getAttribute('role') !== 'img' || !document.getElementById(svg.getAttribute('aria-labelledby').split(' ')[1])) found.push('plot without words');
    for (const text of svg.querySelectorAll('text')) {
      const b = text.getBoundingClientRect();
      if (b.left < frame.left - 2 || b.right > frame.right + 4 || b.top < frame.top - 2 || b.bottom > frame.bottom + 2)
        found.push(`plot ${n}: "${text.textContent}" is cut off`);
      for (const [o, word] of boxes)
        if (b.left < o.right - 1 && o.left < b.right - 1 && b.top < o.bottom - 4 && o.top < b.bottom - 4)
          found.push(`plot ${n}: "${text.textContent}" lies on "${word}"`);
      boxes.push([b, text.textContent]);
    }
  });
  return {found, plots: document.querySelectorAll('svg').length, height: document.documentElement.scrollHeight, paper};
})()"""


class Browser:
    """Owns the browser's process and its pipe."""

    def __init__(self, program, folder):
        to_browser, self.out = os.pipe()
        self.inp, from_browser = os.pipe()
        command = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
                   "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", f"--user-data-dir={folder}/profile",
                   "--remote-debugging-pipe", "about:blank"]
        self.process = subprocess.Popen(["/bin/sh", "-c", f'exec "$@" 3<&{to_browser} 4>&{from_browser}', "sh", *command],
                                        pass_fds=(to_browser, from_browser), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self.buffer, self.last_id, self.events, self.session = b"", 0, [], None
        self.session = self.call("Target.attachToTarget", flatten=True,
                                 targetId=self.call("Target.createTarget", url="about:blank")["targetId"])["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def receive(self, deadline):
        while b"\0" not in self.buffer:
            if not select.select([self.inp], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            data = os.read(self.inp, 1 << 16)
            if not data:
                raise RuntimeError("the browser ended")
            self.buffer += data
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def call(self, method, **params):
        self.last_id += 1
        message = {"id": self.last_id, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + DEADLINE_S
        while True:
            answer = self.receive(deadline)
            if answer.get("id") == self.last_id:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, event):
        deadline = time.monotonic() + DEADLINE_S
        while not any(e.get("method") == event for e in self.events):
            self.events.append(self.receive(deadline))

    def close(self):
        self.process.kill()
        self.process.wait()


def complaints(events, url):
    """What the browser said or asked for beside the page itself."""
    for event in events:
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.consoleAPICalled":
            yield f"console: {params['args']}"
        elif method == "Runtime.exceptionThrown":
            yield f"exception: {params['exceptionDetails']['text']}"
        elif method == "Log.entryAdded":
            yield f"log: {params['entry']['text']}"
        elif method == "Network.requestWillBeSent" and params["request"]["url"] not in (url, "data:,"):
            yield f"request to {params['request']['url']}"


def check_text(path):
    text = path.read_text(encoding="utf-8")
    if not text.startswith("<!DOCTYPE html>"):
        yield "no doctype"
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        yield f"not well-formed: {error}"
        return
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    if len(ids) != len(set(ids)):
        yield "an id comes twice"
    for element in root.iter():
        for name, value in element.attrib.items():
            if name.startswith("on") or name == "src" or (name == "href" and value != "data:,"):
                yield f"attribute {name}={value[:40]}"
    if re.search(r"url\(|@import|@font-face", text):
        yield "the style sheet names something outside"
    if re.search(r"[^A-Za-z](nan|inf)[^A-Za-z]", re.sub(r"<(style|pre|title|h1)>.*?</\1>", "", text, flags=re.S)):
        yield "a number that is none"


def check_page(browser, path, name, keep):
    url = path.as_uri()
    for width, scheme in ((1280, "light"), (1280, "dark"), (800, "light"), (390, "light"), (794, "print")):
        label = f"{name}, {scheme} at {width}"
        browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        media = "print" if scheme == "print" else "screen"
        # Paper stays white in a dark room.
        prefers = "light" if scheme == "light" else "dark"
        browser.call("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": prefers}])
        browser.events.clear()
        browser.call("Page.navigate", url=url)
        browser.wait_for("Page.loadEventFired")
        seen = browser.call("Runtime.evaluate", expression=LOOK, returnByValue=True)
        if "exceptionDetails" in seen:
            yield f"{label}: {seen['exceptionDetails']}"
            continue
        seen = seen["result"]["value"]
        yield from (f"{label}: {line}" for line in seen["found"])
        is_dark = seen["paper"] == "rgb(20, 23, 27)"
        if is_dark != (scheme == "dark"):
            yield f"{label}: paper is {seen['paper']}"
        if name != "empty" and seen["plots"] < 8:
            yield f"{label}: {seen['plots']} plots"
        if keep:
            browser.call("Emulation.setDeviceMetricsOverride", width=width, height=seen["height"], deviceScaleFactor=1, mobile=False)
            shot = browser.call("Page.captureScreenshot", format="png")
            (keep / f"{name}-{scheme}-{width}.png").write_bytes(base64.b64decode(shot["data"]))
        yield from (f"{label}: {line}" for line in complaints(browser.events, url))
    pdf = base64.b64decode(browser.call("Page.printToPDF", printBackground=False, preferCSSPageSize=True)["data"])
    if not pdf.startswith(b"%PDF"):
        yield f"{name}: no PDF"
    if keep:
        (keep / f"{name}.pdf").write_bytes(pdf)


def main(sample, keep):
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        print("report_page: skipped: no Chromium here")
        return 77
    bad = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        pages = keep or Path(folder)
        pages.mkdir(parents=True, exist_ok=True)
        subprocess.run([sample, str(pages)], check=True)
        browser = Browser(program, folder)
        try:
            for name in PAGES:
                path = (pages / f"{name}.html").resolve()
                bad += [f"{name}: {line}" for line in check_text(path)]
                bad += check_page(browser, path, name, keep)
        finally:
            browser.close()
    for line in bad:
        print("report_page:", line)
    print(f"report_page: {len(PAGES)} pages, {len(bad)} complaints")
    return 1 if bad else 0


if __name__ == "__main__":
    arguments = sys.argv[1:]
    folder_to_keep = Path(arguments[arguments.index("--keep") + 1]) if "--keep" in arguments else None
    sys.exit(main(arguments[0], folder_to_keep))
