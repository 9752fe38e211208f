"""A challenge of your own, from a recording with known test responses."""

import csv
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kit.challenge.csv_files import write_rows
from kit.challenge.tracks import TRACK_FILE, TRUTH_FILES, track_of
from kit.checks import require_path, system_words
from kit.data.layout import KINDS
from kit.data.official import open_source, read_meta, write
from kit.data.packing import is_possible, standardisation
from kit.data.recordings import Dataset, Recording
from kit.files import atomic_write, temporary_folder
from kit.hosting.croissant import write_croissant
from kit.hosting.draw import PublicTrials, draw_trials
from kit.hosting.settings import WithholdConfig, require_plain

BITS = 16  # of a value that are kept; float32 has 24, and the last show how it was made


def withhold(
    recording: Recording, out: str | Path, config: WithholdConfig | None = None
) -> tuple[Path, Path]:
    """Split a recording into a public one without test responses, and its private truth.

    out: a new folder. `out/public` is what you publish: a zip in the official layout, which
    `kit.load` opens, and croissant.json, which describes it (add creator, url and date). The rest
    is in `out/private`: the two ground-truth files for `kit.grade` and `kit.rank`, their track, and
    key.csv, which says which row of `recording` each public trial is. They are two folders so that
    no upload of one holds the other. All of it appears at once, and nothing is ever replaced: the
    draw of a truth that was overwritten could not be repeated. Returns the zip and `out/private`.

    Trials are shuffled and get random ids, as do images. Responses of `test` and `final_test` are
    zeros, and all statistics are of train and validation. The truth is in units of that std,
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

    >>> mouse = kit.load("99003-1-1").mouse.subset(20)
    >>> public, private = kit.withhold(mouse, "challenge", kit.WithholdConfig(mouse="1-1-1"))
    >>> kit.load(public, folder="data")
    mouse 1-1-1: 600 neurons, 20 train, 200 validation, ... test, ... final_test trials, ...
    >>> sorted(path.name for path in private.iterdir())
    ['ground_truth_file_final_test.csv', 'ground_truth_file_test.csv', 'key.csv', 'track.txt']
    """
    config = _require_kinds(recording, WithholdConfig() if config is None else config)
    mouse = recording.mouse if config.mouse is None else config.mouse
    require_plain(mouse)
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
def private_folder(out: str | Path) -> Generator[Path]:
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
        raise OSError(
            f"{out} cannot be written: {system_words(problem)}; name another place"
        ) from None


# ---- checks ----


def _require_new(out):
    """`out` as a path. Raises FileExistsError if there is anything."""
    out = require_path("out", out)
    if os.path.lexists(out):
        raise FileExistsError(
            f"{out} exists already, and a challenge is never replaced, because "
            "its truth could not be made again; name a new folder"
        )
    return out


def _require_kinds(recording, config):
    """The settings, with a track. Raises ValueError unless the arguments hold what they must."""
    if isinstance(recording, Dataset):
        raise ValueError(
            "a Recording is needed, not a Dataset; give data.mouse, or one of several "
            "as data[mouse]"
        )
    if not isinstance(recording, Recording):
        raise ValueError(
            f"a Recording is needed, not a {type(recording).__name__}; open one with "
            'kit.load, for example kit.load("99003-1-1").mouse'
        )
    if not isinstance(config, WithholdConfig):
        raise ValueError(
            f"config is a {type(config).__name__}; give a WithholdConfig, such as "
            'WithholdConfig(track="sensorium")'
        )
    if recording.responses is None or len(recording.responses) != len(recording.tiers):
        raise ValueError(
            f"mouse {recording.mouse} has {len(recording.tiers)} trials, and not as "
            "many responses; give a row of them for each trial"
        )
    config = replace(config, track=config.track or track_of(recording))
    kinds = _kinds(config)
    if any(getattr(recording, kind) is None for kind in kinds):
        raise ValueError(
            f"mouse {recording.mouse} has no behaviour or no eye position; give "
            'WithholdConfig(track="sensorium")'
        )
    if any(f"{kind}_std" not in recording.statistics for kind in kinds):
        raise ValueError(
            f"mouse {recording.mouse} has no statistics, so its raw values are not "
            "known; open it with kit.load"
        )
    return config


def _kinds(config):
    """The kinds of data that become public."""
    return KINDS if config.track == "sensorium+" else KINDS[:2]


def _require_possible(recording, trials, config):
    """Raise ValueError unless every value can be in a recording that others open."""
    for kind in _kinds(config):
        for row in trials.rows:
            if not is_possible(kind, getattr(recording, kind)[row]):
                raise ValueError(
                    f"trial {recording.trial_ids[row]} of mouse {recording.mouse} "
                    f"holds a value of {kind} that is negative or not finite; put it "
                    'right, or leave the trial out by giving it the tier "unused"'
                )


def _require_opens(path, recording):
    """Raise ValueError unless the ids and places in a public zip are as a recording's must be."""
    try:
        with open_source(path) as source:
            read_meta(source)
    except ValueError as problem:
        raise ValueError(
            f"mouse {recording.mouse} cannot be withheld, because nobody could open "
            f"the result: {str(problem).replace(str(path), path.name)}"
        ) from None


# ---- what becomes public ----


def write_public(path: Path, recording: Recording, trials: PublicTrials, track: str) -> None:
    """Write the public zip, trial by trial. track: "sensorium" has zeros for behaviour."""
    count, hidden = len(trials.rows), trials.hidden
    pixel_type = _pixel_type(recording, trials)

    def images(trial):
        return raw_values(recording, "images", trials.rows[trial]).astype(pixel_type)

    def responses(trial):
        if hidden[trial]:
            return np.zeros(len(recording.unit_ids), np.float32)
        return raw_responses(recording, trials, trial)

    if track == "sensorium+":
        state = {kind: raw_values(recording, kind, trials.rows) for kind in KINDS[2:]}
    else:
        state = {
            "behavior": np.zeros((count, 3), np.float32),
            "pupil_center": np.zeros((count, 2), np.float32),
        }
    write(
        path,
        {
            "images": _Lazy(images, count),
            "responses": _Lazy(responses, count),
            **state,
            "tiers": trials.tiers,
            "trial_idx": trials.trial_ids,
            "frame_image_id": trials.image_ids,
            "unit_ids": recording.unit_ids,
            "cell_motor_coordinates": recording.coordinates,
        },
        statistics_from=~hidden,
    )


def raw_values(recording: Recording, kind: str, rows: np.ndarray | int) -> np.ndarray:
    """Images, behaviour or eye positions (…) in their raw unit, float32 with 16 bits in use.

    Pixels become the whole numbers that they were.
    """
    std = np.asarray(recording.statistics[f"{kind}_std"], float)
    values = getattr(recording, kind)[rows] * std + recording.statistics[f"{kind}_mean"]
    return _keep_bits(values, std, np.rint)


def raw_responses(recording: Recording, trials: PublicTrials, trial: int) -> np.ndarray:
    """Responses (N,) of one of the trials in their raw unit, float32 with 16 bits in use.

    Each is rounded up or down at random, the same way each time (stochastic rounding), so that its
    last bits do not reveal the std that it was divided by. Values of 16 bits stay as they are.
    """
    values = recording.responses[trials.rows[trial]] * np.asarray(
        recording.statistics["responses_std"], float
    )
    chance = np.random.default_rng([trials.secret, trial]).random(values.shape)

    def round_randomly(scaled):
        return np.floor(np.rint(16 * scaled) / 16 + chance)

    return _keep_bits(values, values, round_randomly)


def _keep_bits(values, scale, rounding):
    """Values as float32, rounded to 16 bits of the scale."""
    _, exponent = np.frexp(scale)
    rounded = np.ldexp(rounding(np.ldexp(values, BITS - exponent)), exponent - BITS)
    return rounded.astype(np.float32) + 0  # no -0.0


def _pixel_type(recording, trials):
    """uint8, in a quarter of the space, if all pixels are whole numbers from 0 to 255."""
    _, first = np.unique(trials.image_ids, return_index=True)
    for row in trials.rows[first]:
        pixels = raw_values(recording, "images", row)
        if pixels.min() < 0 or pixels.max() > 255 or (pixels != np.rint(pixels)).any():
            return np.float32
    return np.uint8


@dataclass(frozen=True)
class _Lazy:
    """The values (T, …) of all trials, each of them computed when it is needed."""

    read: Callable[[int], np.ndarray]  # the values of one trial
    trials: int

    def __len__(self):
        return self.trials

    def __getitem__(self, index):
        """One trial by its number, or several by a mask (T,)."""
        if isinstance(index, int):
            return self.read(index)
        chosen = np.flatnonzero(index)
        example = self.read(chosen[0])
        values = np.empty((len(chosen), *example.shape), example.dtype)
        for place, trial in enumerate(chosen):
            values[place] = self.read(trial)
        return values


# ---- what stays private ----


def _write_private(folder, recording, trials, public_zip, track):
    """Write the key, the track, and the truth, in the units that the public zip is loaded in."""
    folder.mkdir(mode=0o700)
    _write_key(folder / "key.csv", recording, trials)
    (folder / TRACK_FILE).write_text(f"{track}\n", encoding="ascii")
    with open_source(public_zip) as source:
        _, std = standardisation(source, "responses", recording.unit_ids.shape)
    # only ids are written: the arrays of the recording are in another order
    ids = replace(
        recording,
        images=None,
        responses=None,
        behavior=None,
        pupil_center=None,
        tiers=trials.tiers,
        trial_ids=trials.trial_ids,
        image_ids=trials.image_ids,
    )
    for tier, name in TRUTH_FILES.items():
        values = np.stack([raw_responses(recording, trials, trial) for trial in ids.rows(tier)])
        write_rows(folder / name, ids, tier, values / std, "responses")


def _write_key(path, recording, trials):
    """Write a table of the public trials: their ids, and what they were before."""
    columns = {
        "trial_indices": trials.trial_ids,
        "image_ids": trials.image_ids,
        "tier": trials.tiers,
        "row": trials.rows,
        "original_trial": recording.trial_ids[trials.rows],
        "original_image": recording.image_ids[trials.rows],
    }
    with path.open("w", encoding="ascii", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)
        table.writerows(zip(*columns.values(), strict=True))
