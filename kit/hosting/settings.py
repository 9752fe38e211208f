"""Settings of a challenge: of its public recording, and of its pages on the platform."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import inf
from typing import Any

from kit.challenge.tracks import TRACKS
from kit.checks import brief, check_settings

# it becomes part of a file's name
PLAIN_MOUSE = re.compile(r"(?!.*GrayImageNet)[A-Za-z0-9][A-Za-z0-9_-]{0,79}")
TEXT_LENGTHS = {
    "title": 255,
    "organizer": 200,
    "contact": 200,
    "baseline": 100,
    "public_data": 1000,
}
DATES = ("live_start", "live_end", "final_start", "final_end")


def require_config(config: Any, kind: type) -> Any:
    """The settings, or the default ones for None. Raises ValueError unless they are of a kind."""
    if config is not None and not isinstance(config, kind):
        raise ValueError(f"config={brief(config)} is not possible; give a kit.{kind.__name__}")
    return kind() if config is None else config


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
        check_settings(self, track=tuple(TRACKS), final_share=(0.01, 0.99), seed=(0, inf))
        if self.mouse is not None and not PLAIN_MOUSE.fullmatch(self.mouse):
            raise ValueError(
                f"mouse={self.mouse!r:.80} is not plain; give up to 80 letters, digits, _ and -"
            )


def _in_days(days):
    """A date so many days from today, for a challenge that opens when it is uploaded."""
    return field(default_factory=lambda: str(datetime.now(UTC).date() + timedelta(days)))


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
        check_settings(
            self,
            track=tuple(TRACKS),
            submissions_per_day=(1, 10_000),
            max_submissions=(1, 10_000),
            final_submissions=(1, 10_000),
        )
        for name, length in TEXT_LENGTHS.items():
            text = getattr(self, name)
            if not (text.strip() and text.isprintable() and len(text) <= length):
                raise ValueError(
                    f"{name}={text!r:.80} is not possible; give 1 to {length} visible characters"
                )
        for earlier, later in pairwise(DATES if self.final_end else DATES[:-1]):
            if self.time(earlier) >= self.time(later):
                raise ValueError(
                    f"{later}={getattr(self, later)!r} is not later than {earlier}="
                    f"{getattr(self, earlier)!r}; give dates in the order {', '.join(DATES)}"
                )

    def time(self, name: str) -> datetime:
        """One of the four dates, to the second. Raises ValueError if it is not one."""
        text = getattr(self, name)
        try:
            date = datetime.fromisoformat(text)
        except ValueError:
            date = datetime.min
        if date.year < 2000 or date.tzinfo is not None:
            raise ValueError(
                f"{name}={text!r:.80} is not a date in UTC; give one without a time zone, such as "
                '"2027-03-01" or "2027-03-01 12:00"'
            )
        return date.replace(microsecond=0)
