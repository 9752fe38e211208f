"""Checks of arguments and settings, and parts of their error messages."""

import datetime
import difflib
import os
from collections.abc import Iterable
from math import inf
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

import numpy as np

SEEDS = (0, 2**63 - 1)  # the numbers that torch and numpy both take


def suggest(name: object, names: Iterable[str]) -> str:
    """The question "did you mean …? " for an error message, or "" if no name is similar."""
    similar = difflib.get_close_matches(str(name), names, n=2, cutoff=0.4)
    return f"did you mean {' or '.join(map(repr, similar))}? " if similar else ""


def check_settings(settings: object, **allowed: tuple) -> None:
    """Give the fields of a frozen dataclass the plain Python types that its annotations name.

    To be called in `__post_init__`. allowed: field -> what `require` takes. Numbers of numpy become
    Python's, lists and arrays become tuples. Raises ValueError for another value.
    """
    for name, kind in get_type_hints(type(settings)).items():
        value = require(name, getattr(settings, name), kind, allowed.get(name, ()))
        object.__setattr__(settings, name, value)


def require(name: str, value: object, kind: Any, allowed: tuple = ()) -> Any:
    """`value` as a plain bool, int, float, str, tuple of these, or None, as `kind` says.

    allowed: the lowest and the highest number, also for each number of a tuple; or all texts. Any
    finite number and any text if it is empty. Raises ValueError for another value.
    """
    plain = _plain(value)
    kinds = get_args(kind) if isinstance(kind, UnionType) else [kind]
    if any(_fits(plain, kind, allowed) for kind in kinds):
        return plain
    words = " or ".join(_words(kind, allowed) for kind in kinds)
    raise ValueError(f"{name}={brief(repr(value))} is not possible; give {words}")


def _plain(value):
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def _fits(value, kind, allowed):
    parts = get_args(kind)
    if parts:  # of a tuple
        complete = isinstance(value, tuple) and (Ellipsis in parts or len(value) == len(parts))
        return complete and all(_fits(item, parts[0], allowed) for item in value)
    if kind in (int, float):
        low, high = allowed or (-inf, inf)
        number = isinstance(value, int | kind) and not isinstance(value, bool)
        return number and low <= value <= high and abs(value) < inf
    return isinstance(value, kind) and (kind is not str or not allowed or value in allowed)


def _words(kind, allowed):
    """Words for the values that are allowed, for an error message."""
    parts = get_args(kind)
    if parts:
        count = "values" if Ellipsis in parts else f"{len(parts)} values"
        return f"{count}, each {_words(parts[0], allowed)}"
    if kind in (int, float):
        number = "a whole number" if kind is int else "a number"
        if not allowed:
            return number
        low, high = allowed
        return f"{number} from {low} to {high}" if high < inf else f"{number} of {low} or more"
    if kind is str and allowed:
        return f"one of {', '.join(allowed)}"
    names = {bool: "True or False", NoneType: "None", str: "a text"}
    return names.get(kind, f"a {kind.__name__}")


def require_int(name: str, value: object, low: int, high: float = inf) -> int:
    """`value` as an int. Raises ValueError unless it is a whole number from `low` to `high`."""
    return require(name, value, int, (low, high))


def require_date(name: str, value: object) -> str:
    """`value` as "2027-06-30". Raises ValueError if it is not the text of a date."""
    try:
        return datetime.date.fromisoformat(str(value)).isoformat()
    except ValueError:
        raise ValueError(
            f"{name}={brief(value)!r} is not a date; give one such as 2027-06-30"
        ) from None


def require_array(name: str, values: object, *shapes: tuple[int | str, ...]) -> np.ndarray:
    """`values` as an array of numbers of one of these shapes, not empty. A letter is any length.

    Raises ValueError for anything else.
    """
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError):  # of a ragged list, a tensor with a gradient
        array = np.array(None)
    fits = any(_has_shape(array, shape) for shape in shapes)
    if not fits or not array.size or array.dtype.kind not in "biuf":
        allowed = " or ".join(map(str, shapes)).replace("'", "")
        actual = f"{array.shape} {array.dtype}" if array.ndim else type(values).__name__
        raise ValueError(
            f"{name} must be numbers {allowed}, these are {actual}; give an array of that shape"
        )
    return array


def _has_shape(array, shape):
    pairs = zip(array.shape, shape, strict=False)
    same = all(isinstance(length, str) or size == length for size, length in pairs)
    return array.ndim == len(shape) and same


def require_finite(name: str, array: np.ndarray) -> np.ndarray:
    """`array` itself. Raises ValueError if some of its values are not finite numbers."""
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has values that are not finite numbers; leave them out")
    return array


def require_result(name: str, value: object, attribute: str, needed: str = "results") -> None:
    """Raise ValueError, which asks for what is needed, if a value lacks an attribute of that."""
    if not hasattr(value, attribute):
        kind = type(value).__name__
        raise ValueError(f"{name} holds a {kind}, which has no {attribute}; give {needed}")


def require_dict(name: str, values: object) -> dict:
    """`values` itself. Raises ValueError unless it is a dict that is not empty."""
    if not isinstance(values, dict) or not values:
        raise ValueError(f"{name}={brief(values)} is not a dict; give one, such as {{'CNN': ...}}")
    return values


def require_radians(name: str, angles: np.ndarray) -> None:
    """Raise ValueError if angles exceed a full turn, which means that they are in degrees."""
    largest = np.abs(angles).max(initial=0)
    if largest > 2 * np.pi + 1e-6:
        raise ValueError(
            f"{name} of {largest:.6g} radians is beyond a full turn; for degrees give "
            f"np.radians({name})"
        )


def require_path(name: str, value: object) -> Path:
    """`value` as a Path, with the home folder for `~`.

    Raises ValueError unless it is a text or a Path that a file can have.
    """
    if isinstance(value, str | Path) and "\0" not in str(value):
        return expand_user(value)
    raise ValueError(f"{name}={brief(value)!r} is not a path; give a text or a Path")


def expand_user(path: str | Path) -> Path:
    """`path` with the user's home folder for `~`. Raises OSError if no home folder is known."""
    expanded = os.path.expanduser(path)
    if Path(expanded).parts[:1] == ("~",):
        raise FileNotFoundError(
            f"{brief(path)!r}: this user has no home folder; give a full path (for data, in "
            "KIT_DATA_DIR)"
        )
    return Path(expanded)


def system_words(problem: BaseException) -> str:
    """The system's words for an error, in small letters, for a sentence."""
    return (getattr(problem, "strerror", None) or str(problem)).lower()


def brief(value: object) -> str:
    """A value for an error message: the beginning of its text, on one line."""
    return one_line(" ".join(str(value).split()), 80)


def one_line(text: object, length: int = 200) -> str:
    """Untrusted text on one line, cut to a length, without controls and marks that turn letters."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in str(text))
    return plain if len(plain) <= length else plain[: length - 1] + "…"
