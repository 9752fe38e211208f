"""Settings of a challenge: of its public recording, and of its pages on the platform."""

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from math import inf
from typing import Any

from kit.challenge.tracks import TRACKS
from kit.checks import brief, check_settings, require_date

# it becomes part of a file's name
PLAIN_MOUSE = re.compile(r"(?!.*GrayImageNet)[A-Za-z0-9][A-Za-z0-9_-]{0,79}")
TEXT_LENGTHS = {
    "title": 255,
    "organizer": 200,
    "contact": 200,
    "baseline": 100,
    "public_data": 1000,
    "reward": 256,
}
DATES = ("live_start", "live_end", "final_start", "final_end", "release")
OPTIONAL = ("final_end", "release", "reward")  # "" is possible


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
    license: str | None = None  # its address. These five are for croissant.json, which should have
    creator: str | None = None  # all of them: the lab or institution that publishes
    url: str | None = None  # page of the recording, such as "https://example.org/mouse"
    date: str | None = None  # of publication, such as "2027-03-01"
    citation: str | None = None  # how to cite the recording

    def __post_init__(self) -> None:
        check_settings(self, track=tuple(TRACKS), final_share=(0.01, 0.99), seed=(0, inf))
        if self.url is not None and not re.fullmatch(r"https?://\S+", self.url):
            raise ValueError(f"url={brief(self.url)!r} is not an address; begin it with https://")
        if self.date is not None:
            object.__setattr__(self, "date", require_date("date", self.date))
        if self.mouse is not None and not PLAIN_MOUSE.fullmatch(self.mouse):
            raise ValueError(
                f"mouse={self.mouse!r:.80} is not plain; give up to 80 letters, digits, _ and -"
            )


def _in_days(days):
    """A date so many days from today, for a challenge that opens when it is uploaded."""
    return field(default_factory=lambda: str(datetime.now(UTC).date() + timedelta(days)))


@dataclass(frozen=True)
class BundleConfig:
    """Settings of a challenge. Dates are UTC, such as "2027-03-01" or "2027-03-01 12:00".

    With `blind_final`, the final truth is in no file of the bundle: the platform checks the format
    and the ids of final entries, and you rank them with `kit.rank(entries, private, final=True)`.
    Without it, the platform holds the final truth from the first day and shows final scores.
    """

    title: str = "Predict mouse visual cortex"
    track: str | None = None  # None: "sensorium+" if data have behaviour
    organizer: str = "the authors of this challenge"
    contact: str = "the forum of this challenge"  # an e-mail or other address, or words
    baseline: str = "baseline"  # what the pages call the model given
    public_data: str = "the organisers' web site"  # where the recording's zip is: a URL, or words
    reward: str = ""  # what the best get, in words; "" for none
    live_start: str = _in_days(0)
    live_end: str = _in_days(90)
    final_start: str = _in_days(91)  # on a later day than live_end
    final_end: str = _in_days(105)  # "" for a final phase that stays open
    release: str = ""  # when you publish truth, entries and ranking; "": 30 days after final_end
    submissions_per_day: int = 5  # in the live phase
    max_submissions: int = 100  # of one participant in the live phase
    final_submissions: int = 3  # few: without blind_final, each shows a score of the final set
    auto_approve: bool = True  # False: you let in each participant yourself
    blind_final: bool = True  # False: the platform scores the final phase, and holds its truth
    solution: bool = False  # True adds the baseline's entry, which the platform shows to everyone

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
            empty = not text.strip() and (text or name not in OPTIONAL)
            if empty or not text.isprintable() or len(text) > length:
                raise ValueError(
                    f"{name}={text!r:.80} is not possible; give 1 to {length} visible characters"
                )
        dates = [name for name in DATES if getattr(self, name) or name not in OPTIONAL]
        for earlier, later in pairwise(dates):
            if self.time(earlier) >= self.time(later):
                raise ValueError(
                    f"{later}={getattr(self, later)!r} is not later than {earlier}="
                    f"{getattr(self, earlier)!r}; give dates in the order {', '.join(DATES)}"
                )
        if self.time("final_start").date() == self.time("live_end").date():
            raise ValueError(
                f"final_start={self.final_start!r} is on the last day of the live phase; give a "
                "later day, since the platform's backup keeps days without hours"
            )

    @property
    def release_day(self) -> date | None:
        """The day on which the archive is published; None if nothing says when the final ends."""
        if self.release:
            return self.time("release").date()
        return self.time("final_end").date() + timedelta(30) if self.final_end else None

    def time(self, name: str) -> datetime:
        """One of the dates, to the second. Raises ValueError if it is not one."""
        text = getattr(self, name)
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            time = datetime.min
        if not 2000 <= time.year < 3000 or time.tzinfo is not None:
            raise ValueError(
                f"{name}={text!r:.80} is not a date in UTC; give one without a time zone, such as "
                '"2027-03-01" or "2027-03-01 12:00"'
            )
        return time.replace(microsecond=0)
