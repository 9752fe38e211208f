"""A challenge of your own, from a recording with known test responses."""

import csv
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from kit.challenge.csv_files import write_rows
from kit.challenge.tracks import TEST_SETS, TRACK_FILE, TRUTH_FILES, track_of
from kit.checks import require_path, system_words
from kit.data.layout import BEHAVIOR, KINDS, TIERS
from kit.data.official import LazyArray, open_source, read_meta, write
from kit.data.packing import is_possible, standardisation
from kit.data.recordings import Recording
from kit.files import atomic_write, temporary_folder
from kit.hosting.croissant import write_croissant
from kit.hosting.draw import PublicTrials, draw_trials
from kit.hosting.settings import WithholdConfig, require_config

BITS = 16  # kept of each value: the last of float32's 24 would show how it was computed


def withhold(
    recording: Recording, out: str | Path, config: WithholdConfig | None = None
) -> tuple[Path, Path]:
    """Split a recording into a public one without test responses, and its private truth.

    out: a new folder. `out/public` is what you publish: a zip in the official layout, which
    `kit.load` opens, and croissant.json, which describes it (`config` has licence, creator, url,
    date and citation). The rest is in `out/private`: the two ground-truth files for `kit.grade` and
    `kit.rank`, their track, and key.csv, which says which row of `recording` each public trial is.
    They are two folders so that no upload of one holds the other. All of it appears at once, and
    nothing is ever replaced: an overwritten truth could not be drawn again. Returns the zip and
    `out/private`.

    Trials are shuffled and get random ids, as do images. Responses of `test` and `final_test` are
    zeros, and all statistics are of train and validation. The truth is in units of their std, as
    are the responses that `kit.load` opens. If there is no `final_test`, some of the test images,
    drawn at random, become one. Images keep the size at which they were loaded, so load the
    recording with size=(144, 256). Trials of other tiers ("unused") are left out.

    Two things cannot be hidden. Whoever has the original recording finds its trials again, by
    images and behaviour: withhold only what is not published. And behaviour changes slowly, so it
    tells which trials were neighbours in time, whose responses are alike. In a sample mouse, the
    trial most alike in pupil size, running and eye position was shown within 1 trial of a withheld
    one for 15 % of them, and within 5 for 21 % (by chance 0.1 % and 0.4 %). Forbid this use of
    behaviour in your rules, or choose track="sensorium", which shows none. A `seed` that others
    can guess lets them undo the shuffle: leave it out of a real challenge. What `kit.load` packed
    stays in the data folder, with the truth: if others read that folder, load the recording with a
    `folder` of your own, as `python -m kit withhold` does.

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
    config = _complete(require_config(config, WithholdConfig), recording)
    out = _require_new(out)  # before all values are read
    _require_possible(recording, config.track)
    trials = draw_trials(recording, config.final_share, config.seed)
    with atomic_write(out, folder=True, exclusive=True) as part:
        path = part / "public" / f"static{config.mouse}-GrayImageNet-withheld.zip"
        path.parent.mkdir(parents=True)
        write_public(path, recording, trials, config.track)
        write_croissant(path, config, trials.tiers, len(recording.unit_ids))
        _write_private(part / "private", recording, trials, path, config.track)
    return out / "public" / path.name, out / "private"


@contextmanager
def private_folder(out: str | Path) -> Generator[Path]:
    """A temporary data folder, which its owner alone can read, beside `out`, a challenge to come.

    The packed copy of a recording, which holds the truth, is deleted with it, so that none stays
    where others read. Raises OSError if `out` exists or nothing can be written beside it.
    """
    out = _require_new(out)
    folder = out  # until there is a temporary one
    try:
        with temporary_folder(out) as folder:
            yield folder
    except OSError as problem:
        sentence = str(problem).replace(str(folder), str(out))
        if problem.errno is not None:  # raised by the system, not by the kit
            sentence = f"{out} cannot be written: {system_words(problem)}; name another place"
        raise type(problem)(sentence) from None


# ---- checks ----


def _require_new(out):
    """`out` as a path. Raises FileExistsError if anything is there."""
    out = require_path("out", out)
    if os.path.lexists(out):
        raise FileExistsError(f"{out} exists already and is never replaced; name a new folder")
    return out


def _complete(config, recording):
    """The settings, with the recording's id and track where they are None.

    Raises ValueError if the recording lacks data that the track shows.
    """
    if not isinstance(recording, Recording):
        raise ValueError(
            f"a Recording is needed, not a {type(recording).__name__}; give kit.load(…).mouse"
        )
    config = replace(
        config, mouse=config.mouse or recording.mouse, track=config.track or track_of(recording)
    )
    missing = [
        kind
        for kind in _kinds(recording, config.track)
        if getattr(recording, kind) is None or f"{kind}_std" not in recording.statistics
    ]
    if missing:
        raise ValueError(
            f"mouse {recording.mouse} has no {' and '.join(missing)}, or no statistics of it; open "
            'it with kit.load, or if it has no behaviour, give WithholdConfig(track="sensorium")'
        )
    return config


def _kinds(recording, track):
    """The kinds of data that become public. Not every lab records both behaviour and eye."""
    if track == "sensorium":
        return KINDS[:2]
    recorded = tuple(kind for kind in KINDS[2:] if f"{kind}_std" in recording.statistics)
    return KINDS[:2] + (recorded or KINDS[2:])


def _require_possible(recording, track):
    """Raise ValueError for a value that is not finite, or a response that is negative."""
    rows = np.flatnonzero(np.isin(recording.tiers, TIERS))
    for kind, row in product(_kinds(recording, track), rows):
        if not is_possible(kind, getattr(recording, kind)[row]):
            raise ValueError(
                f"{kind} of trial {recording.trial_ids[row]} of mouse {recording.mouse} are "
                "withheld, negative or not finite; put in the true ones by dataclasses.replace (of "
                'a sample mouse: kit.truth(name).responses), or give the trial the tier "unused"'
            )


# ---- what becomes public ----


def write_public(path: Path, recording: Recording, trials: PublicTrials, track: str) -> None:
    """Write the public zip, trial by trial. track: "sensorium" writes zeros for behaviour."""
    count = len(trials.rows)
    hidden = np.isin(trials.tiers, list(TEST_SETS))
    pixel_type = _pixel_type(recording, trials)

    def images(trial):
        return raw_values(recording, "images", trials.rows[trial]).astype(pixel_type)

    def responses(trial):
        if hidden[trial]:
            return np.zeros(len(recording.unit_ids), np.float32)
        return raw_responses(recording, trials, trial)

    arrays = {
        "images": LazyArray(images, count),
        "responses": LazyArray(responses, count),
        "tiers": trials.tiers,
        "trial_idx": trials.trial_ids,
        "frame_image_id": trials.image_ids,
        "unit_ids": recording.unit_ids,
        "cell_motor_coordinates": recording.coordinates,
    }
    if track == "sensorium":
        arrays["behavior"] = np.zeros((count, len(BEHAVIOR)), np.float32)
        arrays["pupil_center"] = np.zeros((count, 2), np.float32)
    for kind in _kinds(recording, track)[2:]:
        arrays[kind] = raw_values(recording, kind, trials.rows)
    if track == "sensorium+" and recording.behavior_names != BEHAVIOR:
        arrays["behavior_names"] = np.array(recording.behavior_names)
    write(path, arrays, statistics_from=~hidden)


def raw_values(recording: Recording, kind: str, rows: np.ndarray | int) -> np.ndarray:
    """Images, behaviour or eye positions (…) in their raw units, float32 with 16 bits in use.

    Pixels become the whole numbers that they were.
    """
    std = np.float64(recording.statistics[f"{kind}_std"])
    values = getattr(recording, kind)[rows] * std + recording.statistics[f"{kind}_mean"]
    return _keep_bits(values, std)


def raw_responses(recording: Recording, trials: PublicTrials, trial: int) -> np.ndarray:
    """Responses (N,) of a trial, a row of `trials`, in raw units, float32 with 16 bits in use.

    Each is rounded up or down at random (stochastic rounding; the same way in every call), so that
    its last bits do not reveal the std that it was divided by. Values of 16 bits stay as they are.
    """
    std = np.float64(recording.statistics["responses_std"])
    values = recording.responses[trials.rows[trial]] * std
    chance = np.random.default_rng([trials.secret, trial]).random(values.shape)

    def round_randomly(scaled):  # `rint` first: an error in a last digit moves no whole number
        return np.floor(np.rint(16 * scaled) / 16 + chance)

    return _keep_bits(values, values, round_randomly)


def _keep_bits(values, scale, rounding=np.rint):
    """Values as float32, rounded so that one as large as `scale` keeps 16 bits."""
    _, exponent = np.frexp(scale)
    rounded = np.ldexp(rounding(np.ldexp(values, BITS - exponent)), exponent - BITS)
    return rounded.astype(np.float32) + 0  # no -0.0


def _pixel_type(recording, trials):
    """uint8, in a quarter of the space, if all pixels are whole numbers from 0 to 255."""
    _, first = np.unique(trials.image_ids, return_index=True)
    for row in trials.rows[first]:
        pixels = raw_values(recording, "images", row)
        if (pixels != pixels.round().clip(0, 255)).any():
            return np.float32
    return np.uint8


# ---- what stays private ----


def _write_private(folder, recording, trials, public_zip, track):
    """Write the key, the track, and the truth, in the units that the public zip is loaded in."""
    folder.mkdir(mode=0o700)
    _write_key(folder / "key.csv", recording, trials)
    (folder / TRACK_FILE).write_text(f"{track}\n", encoding="ascii")
    with open_source(public_zip) as source:
        read_meta(source)  # raises ValueError if the ids or positions in it cannot be loaded
        _, std = standardisation(source, "responses", recording.unit_ids.shape)
    # for `write_rows`, which needs ids alone; the arrays, in the recording's order, are dropped
    ids = replace(
        recording,
        **dict.fromkeys(KINDS),
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
