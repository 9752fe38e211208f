"""The system's Chromium, for all browser tests."""

import shutil

import pytest

BROWSERS = ["chromium", "chromium-browser", "google-chrome"]


@pytest.fixture(scope="module")
def browser():
    """A Chromium without a window. Tests are skipped, saying so, where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not binary:
        pytest.skip("no Chromium here: install chromium or google-chrome")
    options = ["--no-sandbox", "--disable-background-networking", "--disable-dev-shm-usage"]
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=options)
        yield browser
        browser.close()
