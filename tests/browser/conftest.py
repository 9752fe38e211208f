"""The system's Chromium, for all browser tests."""

import shutil

import pytest
from waiting import LIMIT

BROWSERS = ["chromium", "chromium-browser", "google-chrome"]


@pytest.fixture(scope="module")
def browser():
    """A Chromium without a window. Tests are skipped, saying so, where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not binary:
        pytest.skip("no Chromium here: install chromium or google-chrome")
    api.expect.set_options(timeout=1000 * LIMIT)
    options = ["--no-sandbox", "--disable-background-networking", "--disable-dev-shm-usage"]
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=options)
        for name in ("new_page", "new_context"):
            setattr(browser, name, patient(getattr(browser, name)))
        yield browser
        browser.close()


def patient(make):
    """Make pages and contexts that wait for longer than playwright's 30 seconds."""

    def made(**options):
        page_or_context = make(**options)
        page_or_context.set_default_timeout(1000 * LIMIT)
        return page_or_context

    return made
