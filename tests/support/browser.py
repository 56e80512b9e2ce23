"""The browser that tests open pages with."""

import os
import shutil

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """Path of Chromium; missing: the test is skipped, or fails where SPINMULTINET_REQUIRE_BROWSER is 1."""
    program = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if program is None:
        message = "no Chromium; install it: apt-get install -y --no-install-recommends chromium"
        if os.environ.get("SPINMULTINET_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return program
