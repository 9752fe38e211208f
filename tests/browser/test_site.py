"""The site: built without a network or a warning, its links, its search, and how it reads."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import kit

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / "build" / "site" / "bin" / "python"
PICTURES = ROOT / "build" / "browser"
SITE = ROOT / "build" / "site" / "html"
KINDS = ["index", "learn", "compete", "glossary", "benchmark", "ladder", "teach", "search",
         "reference/lab", "notebooks/02_how_predictions_are_scored"]  # fmt: skip
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="make site installs what builds the site"),
]


class Links(HTMLParser):
    """What a page links to or loads, and the ids that others can link to."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.loaded = {"", "top"}, [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids |= {found.get("id"), found.get("name")}
        self.links += [found["href"]] if tag == "a" and found.get("href") else []
        self.loaded += [found[key] for key in ("src", "srcset", "data") if found.get(key)]
        if tag == "link" and found.get("rel") not in ("canonical", "search"):
            self.loaded.append(found["href"])


@pytest.fixture(scope="module")
def site():
    """The site, built where no network can be reached, if the system lets us cut it off."""
    alone = ["unshare", "--map-root-user", "--net"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], check=False).returncode:
        alone = []
    command = [*alone, str(PYTHON), str(ROOT / "docs" / "build.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return SITE


@pytest.fixture(scope="module")
def pages(site):
    """Every page of the site; the twin's, which loads nothing, has tests of its own."""
    paths = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    return {path: Links(path) for path in paths if path.name != "twin.html"}


@pytest.fixture(scope="module")
def glossary():
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").partition("{glossary}\n")[2]
    return re.findall(r"^(\w.*)$", text, flags=re.M)


def test_links_and_anchors_lead_somewhere(pages):
    broken = []
    for path, page in pages.items():
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme or link.startswith("//"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                broken.append(f"{path.relative_to(SITE)}: {link}")
            elif target in pages and unquote(parts.fragment) not in pages[target].ids:
                broken.append(f"{path.relative_to(SITE)}: no {link}")
    assert broken == []


def test_pages_load_nothing_from_elsewhere(pages):
    loaded = {link for page in pages.values() for link in page.loaded}
    assert loaded and not [link for link in loaded if re.match(r"[a-z]+:(?!image/)|//", link)]
    for sheet in SITE.rglob("*.css"):
        text = sheet.read_text("utf-8")
        assert not re.search(r"(?:url\(|@import )[\"']?(?:https?:)?//", text), sheet


def test_every_notebook_and_every_public_name_has_its_place(pages):
    names = {id for page in pages.values() for id in page.ids if id}
    wanted = {f"kit.{name}" for name in kit.__all__} - {
        f"kit.{name}" for name in ("lab", "layers", "metrics", "plots", "widgets")
    }
    wanted |= {f"kit.{stage}.{name}" for stage in ("lab", "plots", "widgets")
               for name in getattr(kit, stage).__all__ if not name.isupper()}  # fmt: skip
    assert wanted - names == set()
    books = [*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("notebooks/solutions/*.ipynb")]
    shown = {SITE / book.relative_to(ROOT).with_suffix(".html") for book in books}
    assert shown <= set(pages)
    tested = (SITE / "reference" / "metrics.html").read_text("utf-8")
    assert "&gt;&gt;&gt; " in tested and "array([1., 0.])" in tested  # an example and its result


def test_every_word_of_the_glossary_is_in_the_search_index(site, glossary):
    text = (site / "searchindex.js").read_text("utf-8").removeprefix("Search.setIndex(")
    index = json.loads(text.rstrip().removesuffix(")"))
    place = index["docnames"].index("glossary")
    found = {word for word, places in index["indexentries"].items()
             if place in [each[0] for each in places]}  # fmt: skip
    assert len(glossary) >= 20
    assert {term.lower() for term in glossary} <= found


@pytest.fixture
def visit(site, browser):
    """A function that opens a page from the disk, offline. It may ask and complain of nothing."""
    contexts, seen = [], []

    def open_page(name, query="", **options):
        context = browser.new_context(**({"viewport": DESKTOP} | options))
        context.set_offline(True)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: seen.append(request.url))
        page.on("requestfailed", lambda request: seen.append(f"failed: {request.url}"))
        page.on("pageerror", lambda error: seen.append(f"failed: {error}"))
        page.on("console", lambda m: seen.append(f"failed: {m.text}") if m.type == "error" else 0)
        page.goto((site / f"{name}.html").as_uri() + query)
        page.wait_for_load_state("networkidle")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert seen and [each for each in seen if not re.match("file:|data:", each)] == []


@pytest.mark.browser
@pytest.mark.parametrize("name", KINDS)
def test_page_fits_and_axe_finds_no_violation(visit, name):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    PICTURES.mkdir(parents=True, exist_ok=True)
    for viewport, scheme in ((DESKTOP, "light"), (PHONE, "dark")):
        page = visit(name, viewport=viewport, color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        picture = f"site-{name.replace('/', '-')}-{viewport['width']}-{scheme}.png"
        page.screenshot(path=PICTURES / picture)
        results = axe.Axe().run(page, options={"preload": False})  # it would ask for style sheets
        assert results.violations_count == 0, results.generate_report()


@pytest.mark.browser
@pytest.mark.parametrize(
    ("words", "name"),
    [("readout", "glossary"), ("divisive normalisation", "glossary"), ("FEVE", "glossary"),
     ("most_exciting_images", "reference/lab"), ("another mouse", "another-mouse")],
)  # fmt: skip
def test_search_from_disk_finds(visit, words, name):
    page = visit("search", f"?q={words.replace(' ', '+')}")
    page.locator(f"#search-results a[href*='{name}.html']").first.click()
    page.wait_for_load_state()
    assert words.lower() in page.locator("main").inner_text().lower()


@pytest.mark.browser
def test_formulas_are_drawn(visit):
    page = visit("benchmark")
    page.locator("mjx-container svg").first.wait_for()
    assert "\\frac" not in page.locator("main").inner_text()
