"""The page of a class in a real browser: it asks nothing, fits a phone, and axe finds no fault."""

import pytest

from kit.pages.class_report import SOLUTIONS, class_report, read_exercises

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)>"
LONG = "a_name_without_a_place_to_break_" * 6


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The page of three learners: all right, all hostile, and a file that cannot be read."""
    folder = tmp_path_factory.mktemp("class")
    lines = {"anna": [], HOSTILE.replace("/", ""): []}
    for exercise in read_exercises(SOLUTIONS):
        for name, answer in zip(lines, (exercise.expected, HOSTILE + LONG), strict=True):
            lines[name].append(f"{exercise.name} = {answer!r}")
    for name, answers in lines.items():
        (folder / f"{name}.py").write_text("\n".join(answers))
    (folder / f"{LONG}.ipynb").write_text(HOSTILE)
    return class_report(folder).page(folder / "page.html").as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_page_fits_the_screen_and_has_no_violation_that_axe_knows(browser, address, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    seen = []
    page.on("console", lambda message: seen.append(message.text))
    page.on("request", lambda request: seen.append(request.url))
    page.on("dialog", lambda dialog: (seen.append(dialog.message), dialog.dismiss()))
    page.goto(address)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert seen == [address]
    results = axe.Axe().run(page)
    page.close()
    assert results.violations_count == 0, results.generate_report()
