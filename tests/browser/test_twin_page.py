"""The page of a model in a real browser: predictions, controls, a phone, a screen reader."""

from pathlib import Path

import numpy as np
import pytest
import tiny

import kit
from kit.lab.controls import controls, respond

expect = pytest.importorskip("playwright.sync_api").expect

pytestmark = pytest.mark.browser

PICTURES = Path(__file__).resolve().parents[2] / "build" / "browser"
MODELS = ["sample-cnn", "sample+-cnn", "sample+-ln", "sample+-shifter-gain-1",
          "sample+-shifter-gain01-1"]  # fmt: skip
ALL = {"behavior_channels": True, "shifter": True, "gain": True, "minmax_behavior": True}
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def twin():
    return kit.pretrained("sample+-cnn")


@pytest.fixture(scope="module")
def address(twin, tmp_path_factory):
    return kit.lab.page(twin, tmp_path_factory.mktemp("twin") / "page.html").as_uri()


@pytest.fixture
def open_page(browser):
    """A function that opens a page from the disk, offline. It may say and load nothing."""
    contexts, seen, opened = [], [], []

    def visit(address, **options):
        context = browser.new_context(**({"viewport": DESKTOP} | options))
        context.set_offline(True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: seen.append(message.text))
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on("request", lambda request: seen.append(request.url))
        opened.append(address)
        page.goto(address)
        page.locator("#sentence", has_text="responds most").wait_for()
        return page

    yield visit
    for context in contexts:
        context.close()
    assert seen == opened


@pytest.fixture
def page(open_page, address):
    return open_page(address)


def settings(model, count):
    """Values of all controls: at the start, at their ends, and at random."""
    rng, shown = np.random.default_rng(0), controls(model)
    every = [{each.name: float(each.start) for each in shown}]
    every += [{each.name: float(getattr(each, end)) for each in shown} for end in ("low", "high")]
    while len(every) < count:
        steps = {each.name: rng.integers((each.high - each.low) / each.step + 1) for each in shown}
        every.append({each.name: float(each.low + each.step * steps[each.name]) for each in shown})
    return every


def assert_predicts(page, model):
    """Show 20 stimuli to the page and to torch."""
    asked = settings(model, 20)
    every = page.evaluate(
        """asked => asked.map(predict).map(
            ({ image, responses }) => [[...image], [...responses]])""",
        asked,
    )
    for values, (image, responses) in zip(asked, every, strict=True):
        expected_image, expected = respond(model, values)
        np.testing.assert_allclose(image, expected_image.ravel(), atol=1e-5)
        np.testing.assert_allclose(responses, expected, atol=1e-4, rtol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_page_predicts_what_torch_does(open_page, tmp_path, name):
    model = kit.pretrained(name)
    assert_predicts(open_page(kit.lab.page(model, tmp_path / "page.html").as_uri()), model)


@pytest.mark.parametrize(
    "parts",
    [ALL, {"shifter": True, "layers": 1, "nonlinear": False}]
    + [{"minmax_behavior": True, part: True} for part in ("gain", "behavior_channels")],
    ids=str,
)
def test_page_predicts_for_other_sizes_and_parts(open_page, tmp_path, parts):
    model = tiny.twin(**parts)
    assert_predicts(open_page(kit.lab.page(model, tmp_path / "page.html").as_uri()), model)


# ---- controls ----


def picture(page, canvas):
    return page.evaluate("id => document.getElementById(id).toDataURL()", canvas)


def assert_says(page, model, neuron=0, **changed):
    """Wait for the sentence about these values of the controls; the others are at their start."""
    values = {each.name: float(each.start) for each in controls(model)} | changed
    responses = respond(model, values)[1]
    best = responses.argmax()
    text = (
        f"The mean response is {responses.mean():.2f}; neuron {best} responds most, with "
        f"{responses[best]:.2f}, and the ringed neuron {neuron} with {responses[neuron]:.2f}."
    )
    expect(page.locator("#sentence")).to_have_text(text)


def test_first_picture_is_that_of_the_start(page, twin):
    assert_says(page, twin)
    image, _ = respond(twin, {each.name: each.start for each in controls(twin)})
    mean, std = kit.lab.screen_of(twin).pixel_statistics
    shown = page.evaluate("[...stimulus.getContext('2d').getImageData(0, 0, 64, 36).data]")
    shown = np.reshape(shown, (36, 64, 4))
    np.testing.assert_allclose(shown[..., 0], mean + std * image, atol=0.51)
    assert (shown[..., :3] == shown[..., :1]).all() and (shown[..., 3] == 255).all()


def test_controls_by_keyboard(page, twin):
    for _ in range(20):  # from the top of the page, as a visitor would
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "frequency":
            break
    before = picture(page, "stimulus"), picture(page, "cortex")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert_says(page, twin, frequency=0.08)
    assert page.locator("output[for=frequency]").inner_text() == "0.08"
    after = picture(page, "stimulus"), picture(page, "cortex")
    assert before[0] != after[0] and before[1] != after[1]
    name = page.locator("#stimulus").get_attribute("aria-label")
    assert "orientation (degrees) 45, spatial frequency (cycles/pixel) 0.08, radius" in name
    said = page.locator("#sentence").inner_text()
    assert said in page.locator("#cortex").get_attribute("aria-label")


def test_state_changes_the_responses_alone(page, twin):
    before = picture(page, "stimulus"), picture(page, "cortex")
    page.get_by_role("slider", name="running speed").press("End")
    assert_says(page, twin, running=3)
    assert before[0] == picture(page, "stimulus") and before[1] != picture(page, "cortex")


def test_reset(page, twin):
    start = picture(page, "cortex")
    page.get_by_role("slider", name="contrast").press("Home")
    page.get_by_label("number").fill("17")
    assert_says(page, twin, 17, contrast=0)
    page.get_by_role("button", name="Reset").press("Enter")
    assert_says(page, twin)
    assert picture(page, "cortex") == start


def test_neuron_by_number(page, twin):
    number = page.get_by_label("number")
    for text in ("600", "-1", "2.5", ""):
        number.fill("5")
        expect(page.locator("#sentence")).to_contain_text("the ringed neuron 5")
        number.fill(text)
        expect(page.locator("#sentence")).not_to_contain_text("ringed")
    number.fill("599")
    number.press("Enter")  # must not send the form
    assert_says(page, twin, 599)


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_neuron_by_click(open_page, address, twin, viewport):
    page = open_page(address, viewport=viewport, has_touch=True)
    cortex = page.locator("#cortex")
    width = cortex.bounding_box()["width"]
    x, y = page.evaluate("place(123)")
    cortex.tap(position={"x": x * width / 800, "y": y * width / 800})
    assert page.get_by_label("number").input_value() == "123"
    assert_says(page, twin, 123)


def test_map_has_x_to_the_right_and_y_upwards(page, twin):
    places = np.array(page.evaluate("Array.from({ length: 600 }, (_, n) => place(n))"))
    cortical = twin.readouts["99002-1-1"].cortical_positions.numpy()
    slopes = [np.polyfit(cortical[:, i], places[:, i], 1)[0] for i in range(2)]
    assert slopes[0] > 300 and slopes[1] == pytest.approx(-slopes[0], rel=1e-4)
    assert places.min() >= 16 and places.max() <= 784


def test_colours_are_those_of_the_bar(page):
    from matplotlib import colormaps

    top = float(page.locator(".ticks span").last.inner_text().removesuffix(" or more"))
    shown = page.evaluate("top => [0, .3, .5, .9, 1, 2].map(x => colour(x * top))", top)
    found = [[float(part) for part in text[4:-1].split(",")] for text in shown]
    expected = 255 * colormaps["viridis"]([0, 0.3, 0.5, 0.9, 1.0, 1.0])[:, :3]
    np.testing.assert_allclose(found, expected, atol=10)  # from nine stops
    assert page.locator("#bar").evaluate("bar => getComputedStyle(bar).backgroundImage").startswith(
        "linear-gradient(to right, rgb(68, 1, 84)"
    )  # fmt: skip


def test_one_prediction_for_each_frame(page):
    counted = page.evaluate(
        """() => new Promise((resolve) => {
            const original = predict;
            let count = 0;
            window.predict = (values) => { count += 1; return original(values); };
            for (let degrees = 0; degrees <= 180; degrees += 5) {
                sliders[0].value = degrees;
                sliders[0].dispatchEvent(new Event("input", { bubbles: true }));
            }
            requestAnimationFrame(() => requestAnimationFrame(() => resolve(count)));
        })"""
    )
    assert counted == 1


def test_sentence_waits_until_a_slider_rests(page):
    """Its timers are cleared and replaced by one that goes off when the test says so."""
    before, moved, rested, pauses = page.evaluate(
        """async () => {
            const sentence = () => document.getElementById("sentence").textContent;
            const running = new Map(), pauses = [];
            for (let timer = setTimeout(Object); timer > 0; timer--) clearTimeout(timer);
            window.setTimeout = (work, pause) => {
                running.set(pauses.push(pause), work);
                return pauses.length;
            };
            window.clearTimeout = (timer) => running.delete(timer);
            const before = sentence();
            for (let degrees = 0; degrees <= 60; degrees += 5) {
                sliders[0].value = degrees;
                sliders[0].dispatchEvent(new Event("input", { bubbles: true }));
                await new Promise(requestAnimationFrame);
            }
            const moved = [sentence(), running.size];
            for (const work of running.values()) work();
            return [before, moved, sentence(), pauses];
        }"""
    )
    assert moved == [before, 1]  # one timer, and no word yet
    assert rested != before and set(pauses) == {300}


# ---- screens ----


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_page_fits_the_screen(open_page, address, viewport, scheme):
    page = open_page(address, viewport=viewport, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"twin-{viewport['width']}-{scheme}.png")
    last = page.get_by_label("number")
    last.focus()
    for canvas in ("#stimulus", "#cortex"):  # still there beside the last control
        box = page.locator(canvas).bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= viewport["height"]
    pictures = page.locator(".pictures").bounding_box()
    below = last.bounding_box()["y"] >= pictures["y"] + pictures["height"]
    assert below or viewport is DESKTOP
    page.screenshot(path=PICTURES / f"twin-{viewport['width']}-{scheme}-end.png")


def test_focus_is_not_under_the_pictures(open_page, address):
    page = open_page(address, viewport=PHONE)
    page.get_by_label("number").focus()
    for _ in range(10):  # back to the first slider
        page.keyboard.press("Shift+Tab")
        pictures = page.locator(".pictures").bounding_box()
        focus = page.locator(":focus").bounding_box()
        assert focus["y"] >= pictures["y"] + pictures["height"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_page_has_no_violation_that_axe_knows(browser, address, viewport, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    context = browser.new_context(viewport=viewport, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(address)
    page.locator("#sentence", has_text="responds most").wait_for()
    results = axe.Axe().run(page)
    context.close()
    assert results.violations_count == 0, results.generate_report()


def test_page_without_javascript(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.get_by_role("slider", name="orientation").is_disabled()
    context.close()
