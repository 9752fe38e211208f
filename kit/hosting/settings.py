"""Settings of a challenge: of its public recording, and of its pages on the platform."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import inf

from kit.challenge.tracks import require_track
from kit.checks import check_settings

PLAIN_MOUSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")  # it becomes part of a file's name
TEXT_LENGTHS = {
    "title": 255,
    "organizer": 200,
    "contact": 200,
    "baseline": 100,
    "public_data": 1000,
}
DATES = ("live_start", "live_end", "final_start", "final_end")


@dataclass(frozen=True)
class WithholdConfig:
    """Settings of the public recording.

    Raises ValueError for a value that is not possible.

    >>> kit.WithholdConfig(track="sensorium", seed=1).final_share
    0.5
    """

    track: str | None = None  # "sensorium" writes zeros for behaviour; None: as the recording is
    final_share: float = 0.5  # of the test images; not used if there is a tier final_test already
    mouse: str | None = None  # public id; None keeps the recording's
    seed: int | None = None  # None draws from the operating system; a number is for lessons
    license: str | None = None  # address of the licence for croissant.json; None leaves it out

    def __post_init__(self) -> None:
        require_track(self.track)
        if self.mouse is not None:
            require_plain(self.mouse)
        check_settings(self, final_share=(0.01, 0.99), seed=(0, inf))


def require_plain(mouse: object) -> None:
    """Raise ValueError unless the id of a mouse can be part of any file's name."""
    if not isinstance(mouse, str) or not PLAIN_MOUSE.fullmatch(mouse) or "GrayImageNet" in mouse:
        raise ValueError(
            f"the mouse id {str(mouse)[:80]!r} is not plain; give up to 80 letters, "
            'digits, _ and -, such as WithholdConfig(mouse="7-1-1")'
        )


def _in_days(days):
    """A date so many days from today, for a challenge that opens when it is uploaded."""
    return field(default_factory=lambda: str((datetime.now(UTC) + timedelta(days=days)).date()))


@dataclass(frozen=True)
class BundleConfig:
    """Settings of a challenge. Dates are UTC, such as "2027-03-01" or "2027-03-01 12:00"."""

    title: str = "Predict mouse visual cortex"
    track: str | None = None  # None: "sensorium+" if data have behaviour
    organizer: str = "the authors of this challenge"
    contact: str = "the forum of this challenge"  # an address, or words
    baseline: str = "baseline"  # what the pages call the model given
    public_data: str = "the organisers' web site"  # where the recording's zip is: a URL, or words
    live_start: str = _in_days(0)
    live_end: str = _in_days(90)
    final_start: str = _in_days(91)  # later than live_end, or the platform refuses
    final_end: str = _in_days(105)  # "" for a final phase that stays open
    submissions_per_day: int = 5  # in the live phase
    max_submissions: int = 100  # of one participant in the live phase
    final_submissions: int = 3  # few: each shows a score of the final test set
    auto_approve: bool = True  # False: you let in each participant yourself

    def __post_init__(self) -> None:
        require_track(self.track)
        for name, length in TEXT_LENGTHS.items():
            _require_text(name, getattr(self, name), length)
        dates = {
            name: self.time(name) for name in DATES if name != "final_end" or self.final_end != ""
        }
        for earlier, later in pairwise(dates):
            if dates[earlier] >= dates[later]:
                raise ValueError(
                    f"{later}={getattr(self, later)!r} is not later than {earlier}="
                    f"{getattr(self, earlier)!r}; give dates in the order "
                    f"{', '.join(DATES)}"
                )
        check_settings(
            self,
            max_submissions=(1, 10_000),
            final_submissions=(1, 10_000),
            submissions_per_day=(1, 10_000),
        )
        if self.submissions_per_day > self.max_submissions:
            raise ValueError(
                f"submissions_per_day={self.submissions_per_day} is more than "
                f"max_submissions={self.max_submissions}; give at most as many"
            )

    def time(self, name: str) -> datetime:
        """One of the four dates, to the second. Raises ValueError if it is not one."""
        text = getattr(self, name)
        try:
            date = datetime.fromisoformat(text)
        except (TypeError, ValueError):
            date = None
        if date is None or date.year < 2000:
            raise ValueError(
                f"{name}={str(text)[:40]!r} is not a date; give one such as "
                '"2027-03-01" or "2027-03-01 12:00"'
            )
        if date.tzinfo is not None:
            raise ValueError(
                f"{name}={text!r} has a time zone, which the platform would drop; "
                f"give UTC without one: {date.astimezone(UTC):%Y-%m-%d %H:%M}"
            )
        return date.replace(microsecond=0)


def _require_text(name, text, length):
    if not (isinstance(text, str) and text.strip() and text.isprintable() and len(text) <= length):
        raise ValueError(
            f"{name}={str(text)[:60]!r} is not possible; give 1 to {length} "
            "characters on one line, with plain blanks and nothing invisible"
        )
