"""Self-contained HTML pages: what is escaped, which script may run, how arrays travel."""

import base64
import hashlib

import numpy as np
import pytest
from html_page import Page

from kit.pages.html import base64_float32, policy, render_text, write_html

HOSTILE = "\"'></script><script>alert(1)</script>"


def write(tmp_path, source, **values):
    template = tmp_path / "template.html"
    template.write_text(source)
    path = write_html(tmp_path / "page.html", template, values, {"twice": lambda text: 2 * text})
    return path.read_text()


def test_write_html_escapes_text_and_json(tmp_path):
    source = "<p title='{{ text }}'>{{ text }}</p><script>{{ [text]|tojson }}</script>"
    found = Page(write(tmp_path, source, text=HOSTILE))
    assert found.find("p") == [({"title": HOSTILE}, HOSTILE)]
    assert len(found.find("script")) == 1


def test_write_html_takes_filters_and_arrays(tmp_path):
    text = write(tmp_path, "{{ 'a'|twice }} {{ {'b': array}|tojson }}", array=np.zeros(1))
    assert text == 'aa {"b": {"float32": "AAAAAA=="}}'


def test_write_html_replaces_pages_alone(tmp_path):
    template, truth, page = (tmp_path / name for name in ("template", "truth.csv", "page"))
    template.write_text("<!DOCTYPE html>{{ number }}")
    truth.write_text("trial_indices,image_ids")
    with pytest.raises(FileExistsError, match=r"truth.csv exists and is not an HTML page; name"):
        write_html(truth, template, {"number": 1}, {})
    assert truth.read_text() == "trial_indices,image_ids"
    for number in (1, 2):
        assert write_html(page, template, {"number": number}, {}).read_text().endswith(f">{number}")


def test_write_html_that_fails_leaves_the_older_page(tmp_path, monkeypatch):
    template, page = tmp_path / "template", tmp_path / "new" / "page.html"
    template.write_text("new")
    page.parent.mkdir()
    page.write_text("old")

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", fail)
    with pytest.raises(OSError, match="cannot be written"):
        write_html(page, template, {}, {})
    assert page.read_bytes() == b"old" and list(page.parent.iterdir()) == [page]


def test_render_text_escapes_nothing(tmp_path):
    template = tmp_path / "template.md"
    template.write_text("# {{ text }}\n{% if long %}\nmore\n{% endif %}\n")
    assert (
        render_text(template, {"text": "<a> & {{ 1 }}", "long": True}) == "# <a> & {{ 1 }}\nmore\n"
    )


def test_base64_float32():
    array = np.array([[1, -2.5], [1e-3, 4]])
    (kind, text), *others = base64_float32(array.T).items()
    assert kind == "float32" and not others
    numbers = np.frombuffer(base64.b64decode(text), "<f4")
    np.testing.assert_array_equal(numbers, np.float32([1, 1e-3, -2.5, 4]))


def test_policy_allows_one_script_and_nothing_else():
    rules = dict(rule.split(" ", 1) for rule in policy("let a;").split("; "))
    sha256 = base64.b64encode(hashlib.sha256(b"let a;").digest()).decode()
    assert rules.pop("script-src") == f"'sha256-{sha256}'"
    assert rules.pop("style-src") == "'unsafe-inline'"
    assert set(rules.values()) == {"'none'"} and "default-src" in rules
