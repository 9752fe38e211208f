"""Rank a folder of entries, and say which cannot be told apart from the best."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from textwrap import fill

import numpy as np

from kit.challenge.comparison import require_settings
from kit.challenge.ground_truth import read_ground_truth, resolve_track
from kit.challenge.ranking import archive
from kit.challenge.ranking.entries import (
    Settings,
    find_entries,
    is_baseline,
    open_folder,
    truth_file,
)
from kit.challenge.ranking.graded import expected_alone, find_flags, first_three, grade_entries
from kit.challenge.tracks import RANKING_METRIC, SCORES, TEST_SETS, TRACKS
from kit.checks import one_line, require, require_date, require_path
from kit.evaluation.bootstrap import RESAMPLES, Difference, compare_scores, rank_scores
from kit.files import file_sha256
from kit.pages.ranking import find_changes, save_results, write_page

MAX_ENTRIES = 200  # all pairs of them take a gigabyte
SMALL_PRINT = (  # below a printed table; the page has all of EXPLANATIONS
    "* not told apart from the best (family-wise error 5 %); 2-4: its places on other images",
    "intervals are about other images, not about another training; p is adjusted for all pairs",
)
EXPLANATIONS = (
    "* cannot be told apart from the best, at a family-wise error of 5 % over all pairs, as is p; "
    "ranks are those that other images could give",
    "intervals are about other images for these neurons, not about another training; a score's "
    "interval is corrected for the bias of few images, so it need not lie around the score",
    # measured by benchmarks/coverage.py, in 1,000 simulations of each case
    "in simulations of twelve equal entries the best was told apart from another in 2.4 to 4.2 % "
    "of rankings with 100 images, and in 1.5 to 3.4 % with 60",
)


@dataclass(frozen=True, eq=False)
class RankedEntry:
    """One line of a ranking."""

    entry: str  # its name: untrusted text
    score: float  # by which the track is ranked
    interval: tuple[float, float]  # 95 % of the score, over other images
    tied_with_best: bool  # in competition, and not significantly worse than the best
    rank_interval: tuple[int, int]  # the ranks that the images allow
    behind_best: Difference  # the best in competition less this one; its `p` is for this pair alone
    p: float  # of that difference, adjusted for all pairs of entries
    single_trial: float
    to_average: float | None  # None without repeats
    feve: float | None
    flags: tuple[str, ...]  # sentences: copies, scores beyond what an image can give
    baseline: bool = False  # out of competition: no other entry's rank counts it
    sha256: str = ""  # of its CSV file


@dataclass(frozen=True, eq=False)
class Ranking:
    """Entries by falling score. A sequence of `RankedEntry`; it prints as a table."""

    rows: tuple[RankedEntry, ...]
    broken: dict[str, str]  # entries that cannot be graded -> the reason
    track: str
    tier: str  # "test" (live) or "final_test"
    images: int
    neurons: int
    image_alone: float | None  # the highest score that a model of the image alone can expect
    p_pairs: np.ndarray  # (K, K) p of each pair, adjusted for all pairs; in order of rows
    truth_track: str | None = None  # what the ground truth records
    truth_sha256: str = ""
    seed: int = 0
    resamples: int = RESAMPLES
    title: str = ""
    date: str = ""  # 2027-06-30: when it was ranked
    left_out: Mapping[str, int] = field(default_factory=dict)  # entry -> its earlier files
    change: str = ""  # since the last ranking that was saved in the folder
    source: archive.Source | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> RankedEntry:
        return self.rows[index]

    @property
    def best(self) -> RankedEntry:
        """The entry with the highest score, out of those in competition if there are any."""
        return next((row for row in self.rows if not row.baseline), self.rows[0])

    @property
    def metric(self) -> str:
        """The name of the score by which the track is ranked."""
        return SCORES[RANKING_METRIC[self.track]]

    @property
    def intervals(self) -> dict[str, tuple[float, float, float]]:
        """Entry -> score and its 95 % interval, as `kit.plots.score_intervals` draws them."""
        intervals = {}
        for row in self.rows:
            name = one_line(row.entry)
            while name in intervals:  # two may print alike
                name += "*"
            intervals[name] = (row.score, *row.interval)
        return intervals

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that explain the table."""
        return (*self._facts(), *EXPLANATIONS)

    def _facts(self):
        """The notes about this ranking alone, which it prints as well."""
        test_set = f"{TEST_SETS[self.tier]} test set: {self.metric}"
        notes = [f"{test_set} over {self.images} images and {self.neurons} neurons"]
        if self.truth_track not in (None, self.track):
            asked = f"ranked as track {self.track}, which was asked for, though the ground truth is"
            notes.insert(0, f"{asked} of track {self.truth_track}")
        if self.image_alone is not None:
            notes.append(f"the best model of the image alone can expect {self.image_alone:.3f}")
        if any(row.baseline for row in self.rows):
            notes.append("baselines are out of competition: ranks and best are of the others")
        return notes

    def __str__(self) -> str:
        width = max([len("entry"), *(len(one_line(row.entry)) for row in self.rows)])
        lines = [f"{'ranks':>7}  {'entry':<{width}}  score  95 % interval        behind         p"]
        for row in self.rows:
            star = "*" if row.tied_with_best else " "
            ranks = "-".join(map(str, dict.fromkeys(row.rank_interval)))  # "1-3", or just "2"
            if row.baseline:
                ranks = "base"
            low, high = row.interval
            lines.append(
                f"{ranks:>6}{star}  {one_line(row.entry):<{width}}  {row.score:.4f} "
                f"{low:.4f} to {high:.4f} {row.behind_best.difference:8.4f}  "
                f"{row.p:8.2g}"
            )
            lines += [f"{'':>9}! {flag}" for flag in row.flags]
        sentences = [f"not ranked: {reason}" for reason in _reasons(self.broken)]
        sentences += [
            f"{one_line(name)}: the last file counts, {number} earlier left out"
            for name, number in self.left_out.items()
        ]
        sentences += [*SMALL_PRINT, *self._facts(), *filter(None, [self.change])]
        lines += [
            fill(text, 100, subsequent_indent="  ", max_lines=2, placeholder=" …")
            for text in sentences
        ]
        return "\n".join(lines)

    __repr__ = __str__

    def page(self, path: str | Path, reload: float | None = None) -> Path:
        """Write the ranking as one self-contained HTML page. Returns its path.

        reload: seconds after which a browser loads it again; None for a page that stays.
        """
        return write_page(path, self, TRACKS[self.track], TEST_SETS[self.tier], reload)

    def titled(self, title: str | None = None, date: str | None = None) -> "Ranking":
        """The same ranking with another title, or date such as "2027-06-30", for what it writes.

        Without them there is no title, and the date is the day of the ranking.
        """
        title = self.title if title is None else one_line(require("title", title, str))
        return replace(self, title=title, date=require_date("date", date or self.date))

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Write ranking.html, ranking.csv and ranking.json into a folder. Returns their paths.

        Equal entries, truth, title and date give equal bytes, on any machine. Names are harmless in
        all three; the JSON file alone has them letter by letter.
        """
        return save_results(self, require_path("folder", folder))

    def archive(self, path: str | Path) -> Path:
        """Write one zip with all that it takes to rank again: `kit.rank(path)`. Returns its path.

        It holds the ground truth, so it is for after the challenge; the CSV file of each ranked
        entry; page, CSV and JSON; and the kit. Raises ValueError if a file has changed since it was
        ranked, FileExistsError if `path` is a file of another kind.
        """
        return archive.write_archive(self, require_path("path", path))


def rank(
    folder: str | Path,
    truth: str | Path | None = None,
    track: str | None = None,
    final: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Ranking:
    """Rank all entries in a folder, and say which cannot be told apart from the best.

    folder: a folder, a zip or a CSV file for each entry, or a zip of them. Files of the hosting
    platform's bulk download are entries of the participant in their name, the last that can be
    graded counts. An entry named baseline, or baseline-…, is out of competition. truth: the folder
    of the ground truth; None if `folder` is a ranking's archive, which holds it and the settings.
    Entries are ranked on its live test set, or if `final` is true on the final one, which the
    organiser does once. track: "sensorium" ranks by correlation to average, "sensorium+" by
    single-trial correlation; None takes what track.txt beside the truth says. An entry that cannot
    be graded stands in `.broken`, with the reason. Raises ValueError if no entry can be ranked, if
    there are more than 200, or if no track is given or recorded.

    >>> data = kit.load("sample+")
    >>> for name in ("cnn", "ln"):
    ...     paths = kit.submit(kit.pretrained(f"sample+-{name}"), data, f"entries/{name}")
    >>> paths = kit.write_ground_truth(data, kit.truth("sample+").responses, "truth")
    >>> ranking = kit.rank("entries", "truth")
    >>> [row.entry for row in ranking], [row.tied_with_best for row in ranking]
    (['cnn', 'ln'], [True, False])
    """
    require_settings(track, resamples, seed)
    tier = "final_test" if require("final", final, bool) else "test"
    folder = require_path("folder", folder)
    with open_folder(folder) as place:
        if truth is None:
            if (track, final, resamples, seed) != (None, False, RESAMPLES, 0):
                raise ValueError("an archive is ranked as it was; give the ground truth too")
            ranking = _rank_archive(place)
        else:
            path = truth_file(require_path("truth", truth), tier)
            settings = Settings(track, tier, resamples, seed)
            ranking = _rank_files(find_entries(place), path, settings)
            ranking = replace(ranking, change=find_changes(ranking, place))
    return replace(ranking, source=replace(ranking.source, folder=folder.absolute(), root=place))


def _rank_archive(folder):
    """Rank an archive's entries again. Raises ValueError if they are not those that it lists."""
    record = archive.read_record(folder)
    found = record["files"], record["not_ranked"]
    path = truth_file(folder / "truth", record["settings"].tier)
    ranking = _rank_files(found, path, record["settings"])
    sums = {row.entry: row.sha256 for row in ranking}
    if (sums, ranking.truth_sha256) != (record["sha256"], record["truth_sha256"]):
        raise ValueError(f"{folder} holds other files than its ranking.json says; get it again")
    return replace(ranking, title=record["title"], date=record["date"])


def _rank_files(found, path, settings):
    """The ranking of entries (name -> files, the last first; name -> why it is none)."""
    entries, broken = found
    measured = read_ground_truth(path)
    track = resolve_track(settings.track, measured, path)
    if len(entries) > MAX_ENTRIES:
        raise ValueError(
            f"there are {len(entries):,} entries, and at most {MAX_ENTRIES} can "
            "be compared with each other; keep the best of each participant"
        )
    settings = settings._replace(track=track)
    graded, refused = grade_entries(entries, measured, settings)
    broken |= refused
    if not graded:
        reasons = _reasons(broken) or ["there is none; put a folder, a zip or a CSV file there"]
        raise ValueError(f"no entry can be ranked: {first_three(reasons, '; ')}")
    fev = measured.repeats.get("fev")  # as the scores of all entries use it
    alone = None if fev is None else expected_alone(fev, measured.images, track)
    rows, pairs = _rank_entries(graded, alone, settings)
    left_out = {entry.name: len(entries[entry.name]) - 1 - entry.refused for entry in graded}
    return Ranking(
        rows=rows,
        broken=broken,
        track=track,
        tier=settings.tier,
        images=len(set(measured.images)),
        neurons=len(measured.unit_ids),
        image_alone=alone,
        p_pairs=pairs,
        truth_track=measured.track,
        truth_sha256=file_sha256(path),
        seed=settings.seed,
        resamples=settings.resamples,
        date=datetime.now(UTC).date().isoformat(),
        left_out={name: number for name, number in left_out.items() if number},
        source=archive.Source(path.absolute(), {entry.name: entry.path for entry in graded}),
    )


def _rank_entries(graded, alone, settings):
    """The `RankedEntry`s of graded ones, by falling score, and (K, K) p of their pairs."""
    scores = [entry.row.ranked_by for entry in graded]
    baselines = np.array([is_baseline(entry.name) for entry in graded])
    ranks = rank_scores(scores, settings.resamples, settings.seed, ~baselines)
    bound = alone if settings.track == "sensorium" else None  # with behaviour a model may exceed it
    best = int(baselines.argmin())  # the first that is not one, or else the first
    rows = []
    for index, entry in enumerate(graded):
        rows.append(
            RankedEntry(
                entry=entry.name,
                score=scores[index].score,
                interval=entry.row.interval,
                tied_with_best=bool(ranks.tied[index]),
                rank_interval=tuple(ranks.rank_interval[index].tolist()),
                behind_best=compare_scores(
                    scores[best], scores[index], settings.resamples, settings.seed
                ),
                p=float(ranks.adjusted[best, index]),
                single_trial=entry.row.scores.single_trial,
                to_average=entry.row.scores.to_average,
                feve=entry.row.scores.feve,
                flags=tuple(find_flags(entry, graded, bound)),
                baseline=bool(baselines[index]),
                sha256=entry.sha256,
            )
        )
    return tuple(rows), ranks.adjusted


def _reasons(broken):
    """A sentence for each entry that cannot be graded."""
    return [f"{one_line(name)}: {one_line(reason, 500)}" for name, reason in broken.items()]
