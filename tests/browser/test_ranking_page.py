"""The page of a ranking in a real browser: sorting by keyboard, hostile names, a phone."""

import pytest
from rankings import change, ranking

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)>"
LONG = "a_name_without_a_place_to_break_" * 6


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The page of four entries, of which the third has no FEVE."""
    made = ranking([HOSTILE, "b", LONG, "a"], broken={HOSTILE: HOSTILE, LONG: LONG})
    for place, feve in enumerate([0.5, 0.7, None, 0.6]):
        made = change(made, place, feve=feve, flags=(HOSTILE,))
    return made.page(tmp_path_factory.mktemp("ranking") / "page.html").as_uri()


@pytest.fixture
def page(browser, address):
    """The page, opened from the disk. It may say nothing, ask nothing and load nothing."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    seen = []
    page.on("console", lambda message: seen.append(message.text))
    page.on("pageerror", lambda error: seen.append(str(error)))
    page.on("request", lambda request: seen.append(request.url))
    page.on("dialog", lambda dialog: (seen.append(dialog.message), dialog.dismiss()))
    page.goto(address)
    yield page
    page.wait_for_timeout(100)
    page.close()
    assert seen == [address]


def names(page):
    return page.locator("#ranking tbody th bdi").all_inner_texts()


def sorted_columns(page):
    heads = page.locator("#ranking thead th[aria-sort]")
    return heads.evaluate_all("all => all.map(th => [th.innerText.trim(), th.ariaSort])")


def test_sort_by_keyboard(page):
    assert names(page) == [HOSTILE, "b", LONG, "a"]
    button = page.get_by_role("button", name="FEVE")
    for _ in range(30):  # from the top of the page, as a visitor would
        page.keyboard.press("Tab")
        if button.evaluate("button => button === document.activeElement"):
            break
    page.keyboard.press("Enter")
    assert names(page) == ["b", "a", HOSTILE, LONG]
    ((title, direction),) = sorted_columns(page)
    assert title.startswith("FEVE") and direction == "descending"
    page.keyboard.press("Space")
    assert names(page) == [HOSTILE, "a", "b", LONG]  # the missing value is last again
    assert sorted_columns(page)[0][1] == "ascending"
    assert page.get_by_role("status").inner_text() == "Sorted by FEVE, ascending."


def test_sort_by_mouse_is_stable(page):
    page.get_by_role("button", name="Entry").click()
    assert names(page) == [HOSTILE, "a", LONG, "b"]
    page.get_by_role("button", name="p", exact=True).click()  # all but the best have the same p
    assert names(page) == ["a", LONG, "b", HOSTILE]
    page.get_by_role("button", name="Ranks").click()
    assert names(page) == [HOSTILE, "b", LONG, "a"]


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_page_does_not_scroll_sideways(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_page_without_javascript(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert names(page) == [HOSTILE, "b", LONG, "a"]
    assert page.get_by_role("button", name="FEVE").is_disabled()
    context.close()
