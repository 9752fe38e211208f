"""Score one entry where a challenge is hosted: `python3 score.py INPUT OUTPUT`.

INPUT/ref holds the ground truth of one test set and its track, INPUT/res the entry. In a blind
final, INPUT/ref holds the ids alone, so an entry is checked and not scored. OUTPUT gets
scores.json, with finite numbers alone, and detailed_results.html. For a bad entry there is one
sentence, on stderr and in the page, a status of 1, and no scores.json.

This file and what it imports need numpy alone: the scoring program of a bundle carries them.
"""

import json
import os
import sys
from collections.abc import Collection
from pathlib import Path

import numpy as np

from kit.challenge.ground_truth import (
    GroundTruth,
    read_ground_truth,
    read_submission,
    resolve_track,
)
from kit.challenge.reader import choose_file, list_files
from kit.challenge.tracks import RANKING_METRIC, SUBMISSION_FILES, TEST_SETS, TRUTH_FILES
from kit.checks import one_line
from kit.evaluation.leaderboard import leaderboard_row
from kit.hosting import results_page

IDS_FILE = "final_test_ids.json"  # what a blind final has for a ground truth
TIERS = {name: tier for tier, name in TRUTH_FILES.items()} | {IDS_FILE: "final_test"}


def main(arguments: list[str]) -> int:
    """Score INPUT into OUTPUT. Returns the exit status: 1, after one sentence, for a bad entry."""
    folder, output = map(Path, arguments)
    output.mkdir(parents=True, exist_ok=True)
    (output / "scores.json").unlink(missing_ok=True)
    try:
        scores, page = score(folder)
    except (ValueError, OSError, MemoryError) as problem:
        sentence = str(problem) or "the entry needs more memory than there is"
        sentence = one_line(sentence.replace(f"{folder}{os.sep}", ""), 2000)
        _write(output / "detailed_results.html", results_page.problem(sentence))
        print(sentence, file=sys.stderr)
        return 1
    _write(output / "detailed_results.html", page)
    _write(output / "scores.json", json.dumps(scores, allow_nan=False))  # last: all else is there
    return 0


def score(folder: Path) -> tuple[dict[str, float], str]:
    """The scores of the entry for what is in folder/ref, and the page about them.

    In a blind final, "valid" is the only score. Raises ValueError, with what is wrong, if there is
    nothing that can be scored.
    """
    path = find_file(folder / "ref", "the organisers' reference data", TIERS)
    tier = TIERS[path.name]
    blind = path.name == IDS_FILE
    truth = _read_ids(path) if blind else read_ground_truth(path)
    predictions = read_submission(find_entry(folder, SUBMISSION_FILES[tier]), truth)
    counts = {
        "trials": len(truth.images),
        "images": len(set(truth.images)),
        "neurons": len(truth.unit_ids),
    }
    if blind:
        return {"valid": 1}, results_page.valid(counts)
    track = resolve_track(None, truth, path)
    metric = RANKING_METRIC[track]
    row = leaderboard_row(predictions, truth, metric)
    scores = row.columns()
    page = results_page.result(
        track, TEST_SETS[tier], row.scores.per_neuron[metric], scores, counts
    )
    return scores | {"valid": 1}, page


def _read_ids(path):
    """The trials, images and neurons of a blind final, as a ground truth without responses."""
    ids = json.loads(path.read_text("utf-8"))
    trials, images = ids["trial_indices"], np.array(ids["image_ids"])
    return GroundTruth(
        np.empty((len(trials), 0)), images, np.array(ids["neuron_ids"]), trials, None
    )


# ---- files ----


def find_entry(folder: Path, name: str) -> Path:
    """The file of the entry, in folder/res or, if the platform takes it for a program, beside it.

    Raises ValueError if there is none, or more than one.
    """
    program = folder.parent / "ingested_program"
    place = program if _files(program) and not _files(folder / "res") else folder / "res"
    return find_file(place, "the entry", [name])


def find_file(folder: Path, owner: str, names: Collection[str]) -> Path:
    """The one file of these names below a folder, which may have a top folder and other files.

    owner: words for an error message. Raises ValueError if there is none, or more than one.
    """
    return choose_file(_files(folder), owner, names)


def _files(folder):
    return [path for path in list_files(folder) if path != folder / "metadata"]  # the platform's


def _write(path, text):
    """Write a file that appears whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
