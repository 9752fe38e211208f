"""A page of HTML taken apart, with the standard library alone."""

import re
from html.parser import HTMLParser

VOID = {"meta", "line", "circle", "rect", "input"}


class Page(HTMLParser):
    """A page's elements as (tag, attributes, text inside), in the order in which they begin."""

    def __init__(self, text):
        super().__init__()
        self.source, self.elements, self.open = text, [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append([tag, dict(attributes), ""])
        if tag not in VOID:
            self.open.append(self.elements[-1])

    def handle_startendtag(self, tag, attributes):
        self.elements.append([tag, dict(attributes), ""])

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for element in self.open:
            element[2] += data

    def find(self, tag, **wanted):
        return [
            (attributes, text.strip())
            for name, attributes, text in self.elements
            if name == tag and all(attributes.get(key) == wanted[key] for key in wanted)
        ]

    def rows(self):
        """The cells (attributes, text) of each row of the first table's body."""
        body = re.search("<tbody>(.*?)</tbody>", self.source, flags=re.S)[1]
        inner = [Page(row) for row in re.findall("<tr.*?</tr>", body, flags=re.S)]
        return [
            [(a, text.strip()) for tag, a, text in row.elements if tag in ("td", "th")]
            for row in inner
        ]


def assert_loads_nothing(page):
    """A page loads nothing, and its policy lets at most one script run, known by its hash."""
    keys = {key for _, attributes, _ in page.elements for key in attributes}
    assert not keys & {"src", "href", "srcset", "style", "action", "data", "poster", "xlink:href"}
    assert not page.find("link") and not page.find("base")
    ((_, css),) = page.find("style")
    assert "url(" not in css and "@import" not in css
    ((policy, _),) = page.find("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy["content"].startswith("default-src 'none'")
    scripts = [rule for rule in policy["content"].split("; ") if rule.startswith("script")]
    assert len(scripts) == len(page.find("script")[-1:])
    assert all(re.fullmatch(r"script-src 'sha256-[\w+/]{43}='", rule) for rule in scripts)
