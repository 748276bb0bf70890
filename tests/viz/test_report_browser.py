"""The report in a browser: nothing is wider than the screen, nothing is cut off, every picture is drawn."""

import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tessflow import TabularFlow
from tessflow.viz.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no browser: install Chromium, on Debian with `apt-get install chromium`"
)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --virtual-time-budget=5000"
)
PHONE, DESKTOP = (390, 844), (1280, 800)

# What a test copy of the page tells the page around it. Words of a picture that leave it are cut off.
MEASURE = """
<script>
addEventListener("load", () => {
  const pictures = [...document.querySelectorAll("svg")];
  const cut = pictures.flatMap(picture => {
    const box = picture.getBoundingClientRect();
    return [...picture.querySelectorAll("text")].filter(words => {
      const at = words.getBoundingClientRect();
      return at.left < box.left - 1 || at.right > box.right + 1 || at.top < box.top - 1 || at.bottom > box.bottom + 1;
    }).map(words => words.textContent);
  });
  const root = document.documentElement;
  const sizes = pictures.map(picture => picture.getBoundingClientRect()).map(box => [box.width, box.height]);
  const ink = getComputedStyle(document.body).color;
  parent.postMessage(JSON.stringify({width: root.scrollWidth, screen: innerWidth, cut, sizes, ink}), "*");
});
</script>
"""
# Headless Chromium has no window as narrow as a phone, but a frame may be.
FRAME = """<!DOCTYPE html>
<body style="margin: 0">
<script>addEventListener("message", event => { document.title = event.data; });</script>
<iframe src="copy.html" style="border: 0; width: %dpx; height: %dpx"></iframe>
"""


def browse(directory, page, *flags):
    command = [CHROMIUM, *FLAGS.split(), f"--user-data-dir={directory / 'profile'}", *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, check=True, timeout=120).stdout.decode()


def measure(directory, source, size):
    directory.mkdir()
    (directory / "copy.html").write_text(source.replace("</body>", MEASURE + "</body>"), encoding="utf-8")
    frame = directory / "frame.html"
    frame.write_text(FRAME % size)
    title = re.search(r"<title>(.*)</title>", browse(directory, frame, "--window-size=1300,900", "--dump-dom"))
    return json.loads(title[1].replace("&amp;", "&"))


def pages():
    rng = np.random.default_rng(0)
    rows = 150
    long = "a name without any end in sight " * 3
    mixed = pd.DataFrame(
        {
            "kind": rng.choice(["oak", "elm", "ash"], rows),
            "height": np.where(rng.random(rows) < 0.2, np.nan, rng.normal(10, 2, rows)),
            "date": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, rows), unit="D"),
            "wait": pd.to_timedelta(rng.integers(0, 9000, rows), unit="s"),
            "place": [f"place {i % 40}" for i in range(rows)],
            long: rng.choice([long, "AWordWithoutAnySpace" * 9], rows),
            "AWordWithoutAnySpace" * 4: rng.normal(1e12, 1e9, rows),
        }
    )
    wide = pd.DataFrame({f"column number {i}": rng.normal(size=rows) for i in range(40)})
    return {"mixed": mixed, "wide": wide}


@pytest.fixture(scope="module", params=pages())
def page(request, tmp_path_factory):
    table = pages()[request.param]
    model = TabularFlow(max_steps=3, hidden_features=(16,), random_state=0).fit(table)
    return write_report(model, tmp_path_factory.mktemp("report") / "report.html", table=table)


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_nothing_overflows_and_all_is_drawn(page, size, tmp_path):
    source = page.read_text(encoding="utf-8")
    seen = measure(tmp_path / "seen", source, size)
    assert seen["screen"] == size[0]
    assert seen["width"] <= size[0]
    assert seen["cut"] == []
    assert len(seen["sizes"]) == source.count("<svg") > 5
    assert all(0.7 * 300 < width <= size[0] and height > 20 for width, height in seen["sizes"])


def test_the_measure_sees_what_overflows_and_what_is_cut_off(tmp_path):
    picture = '<svg viewBox="0 0 9 9"><text x="5">words</text></svg>'
    wide = f'<html><body style="margin: 0"><div style="width: 600px">.</div>{picture}</body>'
    seen = measure(tmp_path / "seen", wide, PHONE)
    assert seen["width"] == 600
    assert seen["cut"] == ["words"]


def test_page_is_dark_where_the_reader_wants_it(page, tmp_path):
    source = page.read_text(encoding="utf-8")
    dark = source.replace("@media (prefers-color-scheme: dark)", "@media all")
    light_ink, dark_ink = (
        measure(tmp_path / name, text, DESKTOP)["ink"] for name, text in (("light", source), ("dark", dark))
    )
    assert sum(map(int, re.findall(r"\d+", light_ink))) < 200
    assert sum(map(int, re.findall(r"\d+", dark_ink))) > 600


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_screenshots_show_a_page(page, size, tmp_path):
    picture = tmp_path / "page.png"
    browse(tmp_path, page, f"--screenshot={picture}", f"--window-size={size[0]},4000")
    with Image.open(picture) as image:
        assert image.height == 4000
        colours = image.convert("RGB").getcolors(1 << 24)
    # Words, tables and figures, on paper that most of the picture is.
    assert len(colours) > 100
    assert max(colours)[1] == (255, 255, 255)
