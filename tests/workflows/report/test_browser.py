"""The report in a real browser: every picture is shown, nothing is wider than the screen, the console is silent."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.browser import chromium

pytestmark = pytest.mark.browser

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--enable-logging=stderr", "--virtual-time-budget=5000"),
]
PROBE = """<script>
const probe = document.createElement('p'); probe.id = 'probe';
window.addEventListener('load', () => { probe.textContent = JSON.stringify({
  images: [...document.images].map(i => [i.naturalWidth, i.clientWidth, i.alt.length]),
  sections: [...document.querySelectorAll('section')].map(s => [s.id, s.clientHeight]),
  unfolded: [...document.querySelectorAll('details')].map(d => d.open),
  overflow: document.documentElement.scrollWidth - window.innerWidth,
}); document.body.append(probe); });
</script></body>"""


@pytest.fixture(scope="module", name="chromium")
def _chromium() -> str:
    return chromium()


def browse(chromium: str, profile: Path, page: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [chromium, *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def probe(chromium: str, page: Path, folder: Path, width: int) -> dict[str, Any]:
    """What the browser shows of a copy with a script: the report itself has none, and its policy would forbid one."""
    probed = folder / "probed.html"
    probed.write_text(re.sub(r"<meta http-equiv=.*?>", "", page.read_text()).replace("</body>", PROBE))
    dom = browse(chromium, folder / "profile", probed, f"--window-size={width},900", "--dump-dom").stdout
    return dict(json.loads(dom.split('<p id="probe">')[1].split("</p>")[0]))


@pytest.mark.parametrize("width", [1200, 500])
def test_pictures_and_sections_are_shown(chromium: str, page: Path, tmp_path: Path, width: int) -> None:
    found = probe(chromium, page, tmp_path, width)
    assert len(found["images"]) == 20
    for natural, shown, words in found["images"]:
        assert natural > 0
        assert shown > 100
        assert words > 20
    assert [name for name, _ in found["sections"]] == [
        *("result", "course", "calculated", "spins", "accuracy", "learning", "models", "settings", "rejected")
    ]
    assert min(height for _, height in found["sections"]) > 50
    assert found["overflow"] <= 0


@pytest.mark.parametrize("width", [1200, 500])
def test_rounds_are_shown_and_the_newest_is_unfolded(
    chromium: str, page_of_rounds: Path, tmp_path: Path, width: int
) -> None:
    found = probe(chromium, page_of_rounds, tmp_path, width)
    assert found["unfolded"] == [False, False, True]
    assert all(natural > 0 and words > 20 for natural, _, words in found["images"])
    assert min(height for _, height in found["sections"]) > 50
    assert found["overflow"] <= 0


def test_policy_of_the_page_forbids_scripts(chromium: str, page: Path, tmp_path: Path) -> None:
    probed = tmp_path / "probed.html"
    probed.write_text(page.read_text().replace("</body>", PROBE))
    run = browse(chromium, tmp_path / "profile", probed, "--dump-dom")
    assert 'id="probe"' not in run.stdout
    assert "CONSOLE" in run.stderr  # so that silence in the next test means something


def test_screenshot_has_colour_and_the_console_is_silent(chromium: str, page: Path, tmp_path: Path) -> None:
    shot = tmp_path / "shot.png"
    run = browse(chromium, tmp_path / "profile", page, "--window-size=1200,6000", f"--screenshot={shot}")
    assert "CONSOLE" not in run.stderr
    pixels = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    assert pixels.shape == (6000, 1200, 3)
    coloured = (np.ptp(pixels, axis=2) > 60).mean(axis=1)
    assert 0.005 < coloured.mean() < 0.3
    white = (pixels.min(axis=2) > 250).mean()
    assert 0.5 < white < 0.98
