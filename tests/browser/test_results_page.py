"""The page about a scored entry in a real browser, as the hosting platform shows it in a frame."""

import numpy as np
import pytest

from kit.hosting import results_page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    """The pages of a good entry of full size, of one that fits nothing, and of one not scored."""
    values = np.random.default_rng(0).normal(0.3, 0.15, 7538).clip(-1, 1)
    scores = {"single_trial": 0.3, "to_average": 0.5, "feve": -12345.6, "low": 0.29, "high": 0.31}
    counts = {"trials": 995, "images": 100, "neurons": 7538}
    texts = {
        "good": results_page.result("sensorium+", "live", values, scores, counts),
        "constant": results_page.result("sensorium", "final", 0 * values, scores, counts),
        "bad": results_page.problem("<img src=x onerror=alert(1)> " + "a_long_word" * 40),
    }
    folder = tmp_path_factory.mktemp("results")
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: (folder / f"{name}.html").as_uri() for name in texts}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("name", ["good", "constant", "bad"])
def test_page_fits_and_asks_for_nothing(browser, addresses, name, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    seen = []
    page.on("console", lambda message: seen.append(message.text))
    page.on("request", lambda request: seen.append(request.url))
    page.on("dialog", lambda dialog: (seen.append(dialog.message), dialog.dismiss()))
    page.goto(addresses[name])
    assert page.evaluate("document.documentElement.scrollWidth") == width
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert back == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 26)"}[scheme]
    outside = """() => {
      const svg = document.querySelector("svg");
      if (!svg) return [];
      const box = svg.getBoundingClientRect();
      const inside = (part) => part.left >= box.left - 1 && part.right <= box.right + 1 &&
        part.top >= box.top - 1 && part.bottom <= box.bottom + 1;
      return [...svg.querySelectorAll("text, rect")].map((each) => each.getBoundingClientRect())
        .filter((part) => !inside(part)).length;
    }"""
    assert page.evaluate(outside) in (0, [])  # no label is cut off
    page.close()
    assert seen == [addresses[name]]
