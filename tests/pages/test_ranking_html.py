"""The page of a ranking: what it holds, and that names from outside stay text."""

import numpy as np
import pytest
from html_page import Page, assert_loads_nothing
from rankings import change, ranking

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def page(tmp_path):
    """A function from a ranking to its page."""

    def parse(made):
        path = made.page(tmp_path / "page.html")
        return Page(path.read_text(encoding="utf-8"))

    return parse


def test_page_has_what_a_screen_reader_needs(page):
    found = page(ranking(["a", "b"]))
    assert found.find("html", lang="en")
    titles = [text for _, text in found.find("title")]
    assert titles[0] == "Sensorium+ track, live test set: ranking"
    assert len(found.find("h1")) == 1 and len(found.find("h2")) >= 3
    assert len(found.find("caption")) == 2
    assert all(a.get("scope") in ("row", "col") for a, _ in found.find("th"))
    assert all(a.get("aria-label") or a.get("aria-hidden") for a, _ in found.find("svg"))


def test_page_shows_the_numbers(page):
    made = change(ranking(["a", "b"]), 1, rank_interval=(1, 2), tied_with_best=True, p=0.0621)
    first, second = page(made).rows()
    assert [text for _, text in second] == [
        "1–2 * (cannot be told apart from the best)", "b", "0.3800", "0.3700 to 0.4100",
        "0.0200 (0.0100 to 0.0300)", "0.062", "0.3800", "0.5800", "0.6800"]  # fmt: skip
    assert [text for _, text in first][4:6] == ["best", "–"]


def test_page_says_which_track_and_test_set(page):
    found = page(ranking(["a"], track="sensorium", tier="final_test", images=150))
    (facts,) = (text for _, text in found.find("p", **{"class": "facts"}))
    assert facts == (
        "Final test set · ranked by correlation to average · 150 images · 600 neurons · 1 entry"
    )


def test_page_holds_notes_flags_and_broken_entries(page):
    made = ranking(["a", "b"], broken={"lost": "there is no file"})
    found = page(change(made, 1, flags=("it is a copy of a",)))
    items = [text for _, text in found.find("li")]
    assert "lost: there is no file" in items
    assert any("in simulations of twelve equal entries" in text for text in items)
    assert set(made.notes) <= set(items)
    assert "it is a copy of a" in found.rows()[1][1][1]


def test_page_can_be_sorted_by_numbers(page):
    made = ranking(["b", "A", "c"])
    made = change(made, 1, to_average=None, feve=float("nan"))
    found = page(made)
    heads = found.find("th", scope="col")[:9]
    assert [a.get("aria-sort") for a, _ in heads] == ["ascending"] + 8 * [None]
    assert {a["data-first"] for a, _ in heads} == {"ascending", "descending"}
    assert len(found.find("button", type="button")) == 9
    values = [[a["data-value"] for a, _ in row] for row in found.rows()]
    assert [row[0] for row in values] == ["1", "2", "3"]
    assert [row[1] for row in values] == ["1", "0", "2"]  # the order of the alphabet
    assert [float(row[2]) for row in values] == pytest.approx([row.score for row in made], abs=1e-6)
    assert values[1][7:] == ["", ""]
    assert [text for _, text in found.rows()[1]][7:] == ["–", "–"]


def test_page_escapes_what_comes_from_outside(page):
    names = [HOSTILE, "\"'><script>alert(2)</script>", "{{ 7 * 7 }}"]
    made = ranking(names, broken={"</ul><b>": "<script>alert(3)</script>"})
    found = page(change(made, 1, flags=("</p><script>alert(4)</script>",)))
    assert not found.find("img") and len(found.find("script")) == 1
    assert [a for _, a, _ in found.elements if any(key.startswith("on") for key in a)] == []
    assert [text for _, text in found.find("bdi")][:3] == names
    drawn = [text for _, text in found.find("g")]
    assert drawn[0].startswith(HOSTILE)
    assert any(text.startswith(HOSTILE) for _, text in found.find("title"))
    assert "<img src=x oner… is better than \"'><script>aler…: p < 0.001" in [
        a.get("title") for a, _ in found.find("td", **{"class": "better"})
    ]
    assert any("<script>alert(3)</script>" in text for _, text in found.find("li"))


def test_page_writes_names_on_one_line(page):
    names = ["two\nlines\0", "\u202egnp.exe", "x" * 1000, "\udcff", ""]
    shown = [row[1][1] for row in page(ranking(names)).rows()]
    assert shown == ["two?lines?", "?gnp.exe", "x" * 199 + "…", "?", ""]


def test_page_loads_nothing(page):
    assert_loads_nothing(page(ranking([HOSTILE, "http://b"])))


def test_page_maps_every_pair(page):
    made = ranking(["a", "b", "c"])
    made.p_pairs[1, 2] = made.p_pairs[2, 1] = 0.0732
    found = page(made)
    signs = {"better": "+", "worse": "−", "open": "·"}
    cells = {name: found.find("td", **{"class": name}) for name in signs}
    assert {name: len(cells[name]) for name in signs} == {"better": 2, "worse": 2, "open": 2}
    for name, sign in signs.items():
        assert {text for _, text in cells[name]} == {sign}
    assert cells["worse"][0][0]["title"] == "b is worse than a: p < 0.001"
    assert cells["open"][0][0]["title"] == "b cannot be told apart from c: p = 0.073"


def test_page_draws_intervals_to_scale(page):
    found = page(ranking(["a", "b", "c"]))
    lines = [a for a, _ in found.find("line", **{"class": "interval"})][1:]  # without the legend
    dots = [a for a, _ in found.find("circle")][1:]
    ends = [(float(a["x1"][:-1]), float(a["x2"][:-1])) for a in lines]
    widths = [high - low for low, high in ends]
    np.testing.assert_allclose(widths, widths[0], atol=0.02)
    step = ends[0][0] - ends[1][0]
    np.testing.assert_allclose(step, widths[0] / 2, atol=0.02)  # .02 to an interval's .04
    for (low, high), dot in zip(ends, dots, strict=True):
        assert float(dot["cx"][:-1]) == pytest.approx((low + high) / 2, abs=0.02)
    assert min(low for low, _ in ends) > 0 and max(high for _, high in ends) < 100
    named = [text for _, text in found.find("title")]
    assert "best model of the image alone: 0.3900" in named


def test_page_of_one_entry(page):
    made = change(ranking(["a"], image_alone=None), 0, interval=(0.4, 0.4))
    found = page(made)
    assert "best model" not in found.source
    assert len(found.rows()) == 1 and not found.find("table", **{"class": "map"})
    assert any("no pair to compare" in text for _, text in found.find("p"))


def test_page_of_forty_entries_is_small(page):
    found = page(ranking([f"{HOSTILE} of team {number}" for number in range(40)]))
    assert len(found.source.encode()) < 300_000
    assert len(found.find("td", **{"class": "better"})) == 40 * 39 / 2
    assert len(found.find("circle")) == 41


def test_page_reloads_where_it_follows_a_contest(tmp_path):
    plain = Page(ranking(["a"]).page(tmp_path / "page.html").read_text())
    assert not [attributes for attributes, _ in plain.find("meta") if "refresh" in str(attributes)]
    followed = Page(ranking(["a"]).page(tmp_path / "page.html", reload=9.5).read_text())
    assert ({"http-equiv": "refresh", "content": "10"}, "") in followed.find("meta")
    assert any("as of" in text for _, text in followed.find("p"))
