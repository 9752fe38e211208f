"""Self-contained HTML pages: they load nothing, and open from a disk.

All text that a template is given is escaped. The page's own policy (CSP) lets no script run but the
one that the template holds.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from kit.checks import require_path
from kit.files import atomic_write


def write_html(
    path: str | Path,
    template: Path,
    values: Mapping[str, object],
    filters: Mapping[str, Callable],
) -> Path:
    """Render a jinja2 template with values, name -> value, and write the page. Returns its path.

    The template has the filters given and `policy`; `tojson` turns an array into {"float32": text},
    see `base64_float32`. Raises OSError, with what to do, if the path cannot be written.
    """
    text = _render(template, values, filters, autoescape=True)
    path = require_path("path", path)
    _require_page(path)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return path


def _require_page(path):
    """Raise FileExistsError if there is a file of another kind, which must not be lost."""
    if path.is_file() and path.suffix.lower() not in (".html", ".htm"):
        with path.open("rb") as file:
            start = file.read(15)
        if start.lower() != b"<!doctype html>":
            raise FileExistsError(f"{path} exists and is not an HTML page; name another file")


def render_text(template: Path, values: Mapping[str, object]) -> str:
    """Render a jinja2 template of plain text, such as Markdown. Nothing is escaped."""
    return _render(template, values, {}, autoescape=False)


def _render(template, values, filters, autoescape):
    import jinja2  # only pages need it

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"default": base64_float32, "allow_nan": False}
    environment.filters |= {"policy": policy, **filters}
    return environment.get_template(template.name).render(values)


def policy(script: str) -> str:
    """The Content-Security-Policy of a page that loads nothing, and runs this script or none."""
    sha256 = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"; script-src 'sha256-{sha256}'" if script else ""
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"style-src 'unsafe-inline'{allowed}"
    )


def base64_float32(array: np.ndarray) -> dict[str, str]:
    """An array as {"float32": base64 of its numbers in C order, little-endian}, for JSON."""
    return {"float32": base64.b64encode(np.asarray(array).astype("<f4").tobytes()).decode()}
