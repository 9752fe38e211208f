"""A challenge of your own, from a recording whose test responses are known."""

import csv
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kit.challenge.croissant import write_croissant
from kit.challenge.csv_files import write_rows
from kit.challenge.public_zip import draw_trials, raw_responses, write_public
from kit.challenge.tracks import TRACK_FILE, TRUTH_FILES, require_track, track_of
from kit.data.official import KINDS, open_source, read_meta
from kit.data.packing import is_possible, standardisation
from kit.data.recordings import Dataset, Recording
from kit.files import atomic_write, temporary_folder
from kit.report import require_int, require_path

PLAIN_MOUSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")  # it becomes part of a file's name


@dataclass(frozen=True)
class WithholdConfig:
    """What the public recording shows.

    Raises ValueError for a value that is not possible.

    >>> from kit.challenge import WithholdConfig
    >>> WithholdConfig(track="sensorium", seed=1).final_share
    0.5
    """

    track: str | None = None    # "sensorium" writes zeros for behaviour; None: as the recording is
    final_share: float = 0.5    # of the test images; not used if there is a tier final_test already
    mouse: str | None = None    # public id; None keeps the recording's
    seed: int | None = None     # None draws from the operating system; a number is for lessons
    license: str | None = None  # address of the licence for croissant.json; None leaves it out

    def __post_init__(self) -> None:
        require_track(self.track)
        if not isinstance(self.final_share, int | float) or not 0 < self.final_share < 1:
            raise ValueError(f"final_share={self.final_share!r} is not a share of the test images; "
                             "give a number between 0 and 1, such as 0.5")
        if self.seed is not None:
            object.__setattr__(self, "seed", require_int("seed", self.seed, 0))
        if self.mouse is not None:
            _require_plain(self.mouse)
        if not isinstance(self.license, str | None):
            raise ValueError(f"license={self.license!r} is not a text; give the address of the "
                             "licence, or None")


def withhold(recording: Recording, out: str | Path,
             config: WithholdConfig | None = None) -> tuple[Path, Path]:
    """Split a recording into a public one without test responses, and its private truth.

    out: a new folder. `out/public` is what you publish: a zip in the official layout, which
    `kit.load` opens, and croissant.json, which describes it (add creator, url and date). The rest
    is in `out/private`: the two ground-truth files for `kit.grade` and `kit.rank`, their track, and
    key.csv, which says which row of `recording` each public trial is. They are two folders so that
    no upload of one holds the other. All of it appears at once, and nothing is ever replaced: the
    draw of a truth that was overwritten could not be repeated. Returns the zip and `out/private`.

    Trials are shuffled and get random ids, as do images. Responses of `test` and `final_test` are
    zeros, and all statistics are those of train and validation. The truth is in units of that std,
    as the responses of the public recording are. If there is no `final_test`, some of the test
    images, drawn at random, become one. Images keep the size at which they were loaded, so load
    the recording with size=(144, 256). Trials of other tiers ("unused") are left out.

    This cannot be hidden: whoever has the original recording finds its trials again, by images and
    behaviour; so withhold only what is not published. And behaviour changes slowly, so it tells
    which trials are neighbours in time, and their responses are alike. In a sample mouse, the
    trial most alike in pupil size, running and eye position was shown within 1 trial of a withheld
    one for 15 % of them, and within 5 for 21 % (by chance 0.1 % and 0.4 %). Forbid its use in your
    rules, or choose track="sensorium", which shows no behaviour. A `seed` that others can guess
    lets them undo the shuffle: leave it out of a real challenge. What `kit.load` packed stays in
    the data folder, with the truth: if others read that folder, load the recording with a `folder`
    of your own, as `python -m kit withhold` does.

    Raises ValueError if the responses are not known, if an image of a test set is also in another
    tier, if a test set has fewer than three images or no repeats, or if a value is not finite;
    OSError if `out` exists or cannot be written.

    >>> from kit.challenge import WithholdConfig
    >>> mouse = kit.load("99003-1-1").mouse.subset(20)
    >>> public, private = kit.withhold(mouse, "challenge", WithholdConfig(mouse="1-1-1"))
    >>> kit.load(public, folder="data")
    mouse 1-1-1: 600 neurons, 20 train, 200 validation, ... test, ... final_test trials, ...
    >>> sorted(path.name for path in private.iterdir())
    ['ground_truth_file_final_test.csv', 'ground_truth_file_test.csv', 'key.csv', 'track.txt']
    """
    config = _require_kinds(recording, WithholdConfig() if config is None else config)
    mouse = _require_plain(recording.mouse if config.mouse is None else config.mouse)
    out = _require_new(out)
    trials = draw_trials(recording, config.final_share, config.seed)
    _require_possible(recording, trials, config)
    try:
        with atomic_write(out, folder=True, exclusive=True) as part:
            path = part / "public" / f"static{mouse}-GrayImageNet-withheld.zip"
            path.parent.mkdir(parents=True)
            write_public(path, recording, trials, config.track)
            _require_opens(path, recording)
            write_croissant(path, mouse, trials.tiers, len(recording.unit_ids), config.license)
            _write_private(part / "private", recording, trials, path, config.track)
    except OSError:
        _require_new(out)  # another process was first
        raise
    return out / "public" / path.name, out / "private"


@contextmanager
def private_folder(out: str | Path) -> Iterator[Path]:
    """A temporary data folder beside `out`, a challenge to come, that its owner alone can read.

    A recording that is opened in it leaves no packed copy, which holds the truth, in a data folder
    that others share. Raises OSError if `out` exists or nothing can be written beside it.
    """
    folder = out = _require_new(out)
    try:
        with temporary_folder(out) as folder:
            yield folder
    except OSError as problem:
        if problem.errno is None:  # has its sentence already
            raise type(problem)(str(problem).replace(str(folder), str(out))) from None
        raise OSError(f"{out} cannot be written: {problem.strerror.lower()}; name another "
                      "place") from None


# ---- checks ----

def _require_new(out):
    """`out` as a path. Raises FileExistsError if there is anything."""
    out = require_path("out", out)
    if os.path.lexists(out):
        raise FileExistsError(f"{out} exists already, and a challenge is never replaced, because "
                              "its truth could not be made again; name a new folder")
    return out


def _require_kinds(recording, config):
    """The settings, with a track. Raises ValueError unless the arguments hold what they must."""
    if isinstance(recording, Dataset):
        raise ValueError("a Recording is needed, not a Dataset; give data.mouse, or one of several "
                         "as data[mouse]")
    if not isinstance(recording, Recording):
        raise ValueError(f"a Recording is needed, not a {type(recording).__name__}; open one with "
                         'kit.load, for example kit.load("99003-1-1").mouse')
    if not isinstance(config, WithholdConfig):
        raise ValueError(f"config is a {type(config).__name__}; give a WithholdConfig, such as "
                         'WithholdConfig(track="sensorium")')
    if recording.responses is None or len(recording.responses) != len(recording.tiers):
        raise ValueError(f"mouse {recording.mouse} has {len(recording.tiers)} trials, and not as "
                         "many responses; give a row of them for each trial")
    config = replace(config, track=config.track or track_of(recording))
    kinds = _kinds(config)
    if any(getattr(recording, kind) is None for kind in kinds):
        raise ValueError(f"mouse {recording.mouse} has no behaviour or no eye position; give "
                         'WithholdConfig(track="sensorium")')
    if any(f"{kind}_std" not in recording.statistics for kind in kinds):
        raise ValueError(f"mouse {recording.mouse} has no statistics, so its raw values are not "
                         "known; open it with kit.load")
    return config


def _kinds(config):
    """The kinds of data that become public."""
    return KINDS if config.track == "sensorium+" else KINDS[:2]


def _require_possible(recording, trials, config):
    """Raise ValueError unless every value can be in a recording that others open."""
    for kind in _kinds(config):
        for row in trials.rows:
            if not is_possible(kind, getattr(recording, kind)[row]):
                raise ValueError(f"trial {recording.trial_ids[row]} of mouse {recording.mouse} "
                                 f"holds a value of {kind} that is negative or not finite; mend "
                                 'it, or leave the trial out by giving it the tier "unused"')


def _require_opens(path, recording):
    """Raise ValueError unless the ids and places in a public zip are as a recording's must be."""
    try:
        with open_source(path) as source:
            read_meta(source)
    except ValueError as problem:
        raise ValueError(f"mouse {recording.mouse} cannot be withheld, because nobody could open "
                         f"the result: {str(problem).replace(str(path), path.name)}") from None


def _require_plain(mouse):
    """The id of a mouse. Raises ValueError unless it can be part of any file's name."""
    if not isinstance(mouse, str) or not PLAIN_MOUSE.fullmatch(mouse) or "GrayImageNet" in mouse:
        raise ValueError(f"the mouse id {str(mouse)[:80]!r} is not plain; give up to 80 letters, "
                         'digits, _ and -, such as WithholdConfig(mouse="7-1-1")')
    return mouse


# ---- what stays private ----

def _write_private(folder, recording, trials, public_zip, track):
    """Write the key, the track, and the truth, in the units that the public zip is loaded in."""
    folder.mkdir(mode=0o700)
    _write_key(folder / "key.csv", recording, trials)
    (folder / TRACK_FILE).write_text(f"{track}\n", encoding="ascii")
    with open_source(public_zip) as source:
        _, std = standardisation(source, "responses", recording.unit_ids.shape)
    # only ids are written: the arrays of the recording are in another order
    ids = replace(recording, images=None, responses=None, behavior=None, pupil_center=None,
                  tiers=trials.tiers, trial_ids=trials.trial_ids, image_ids=trials.image_ids)
    for tier, name in TRUTH_FILES.items():
        values = np.stack([raw_responses(recording, trials, trial) for trial in ids.rows(tier)])
        write_rows(folder / name, ids, tier, values / std, "responses")


def _write_key(path, recording, trials):
    """Write a table of the public trials: their ids, and what they were before."""
    columns = {"trial_indices": trials.trial_ids, "image_ids": trials.image_ids,
               "tier": trials.tiers, "row": trials.rows,
               "original_trial": recording.trial_ids[trials.rows],
               "original_image": recording.image_ids[trials.rows]}
    with path.open("w", encoding="ascii", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)
        table.writerows(zip(*columns.values(), strict=True))
