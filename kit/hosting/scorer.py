"""Score one entry where a challenge is hosted: `python3 score.py INPUT OUTPUT`.

INPUT/ref holds the ground truth of one test set and its track, INPUT/res the entry. OUTPUT gets
scores.json, with finite numbers alone, and detailed_results.html. For a bad entry there is one
sentence, on stderr and in the page, a status of 1, and no scores.json.

This file and what it imports need numpy alone: the scoring program of a bundle carries them.
"""

import json
import os
import sys
from pathlib import Path

from kit.challenge.ground_truth import read_ground_truth, read_submission, resolve_track
from kit.challenge.tracks import RANKING_METRIC, SUBMISSION_FILES, TEST_SETS, TRUTH_FILES
from kit.checks import one_line
from kit.evaluation.leaderboard import leaderboard_row
from kit.hosting import results_page

TIERS = {name: tier for tier, name in TRUTH_FILES.items()}


def main(arguments: list[str]) -> int:
    """Score INPUT into OUTPUT. Returns the exit status: 1, after one sentence, for a bad entry."""
    folder, output = map(Path, arguments)
    output.mkdir(parents=True, exist_ok=True)
    (output / "scores.json").unlink(missing_ok=True)
    try:
        scores, page = score(folder)
    except (ValueError, OSError, MemoryError) as problem:
        sentence = one_line(problem, 2000) or "the entry needs more memory than there is"
        _write(output / "detailed_results.html", results_page.problem(sentence))
        print(sentence, file=sys.stderr)
        return 1
    _write(output / "detailed_results.html", page)
    _write(output / "scores.json", json.dumps(scores, allow_nan=False))  # last: all else is there
    return 0


def score(folder: Path) -> tuple[dict[str, float], str]:
    """The scores of folder/res for the ground truth in folder/ref, and the page about them.

    Raises ValueError, with what is wrong, if there is nothing that can be scored.
    """
    truth = find_truth(folder / "ref")
    known, tier = read_ground_truth(truth), TIERS[truth.name]
    track = resolve_track(None, known, truth)
    path = find_entry(folder / "res", SUBMISSION_FILES[tier])
    try:
        predictions = read_submission(path, known)
    except (ValueError, OSError) as problem:
        raise ValueError(str(problem).replace(str(path), path.name)) from None
    row = leaderboard_row(predictions, known, RANKING_METRIC[track])
    counts = {
        "trials": len(known.images),
        "images": len(set(known.images)),
        "neurons": len(known.unit_ids),
    }
    scores, values = row.columns(), row.scores.per_neuron[RANKING_METRIC[track]]
    return scores, results_page.result(track, TEST_SETS[tier], values, scores, counts)


# ---- files ----


def find_truth(folder: Path) -> Path:
    """The ground truth among the reference data. Raises ValueError unless there is exactly one."""
    found = [path for path in _files(folder) if path.name in TIERS]
    if len(found) != 1:
        raise ValueError(
            "the reference data must hold one ground-truth file, and hold "
            f"{len(found)}; this is the organisers' mistake, so tell them"
        )
    return found[0]


def find_entry(folder: Path, name: str) -> Path:
    """The file of a test set in an entry, which may have a top folder and files of an archiver.

    Raises ValueError if there is none, or more than one.
    """
    files = [path for path in _files(folder) if path != folder / "metadata"]  # the platform's own
    found = [path for path in files if path.name == name]
    if not files:
        raise ValueError(
            f"the entry is empty: give a zip that holds {name}; leave out a file "
            "metadata or metadata.yaml, for which the platform takes it for a program"
        )
    if not found:
        here = ", ".join(one_line(path.name, 60) for path in files[:3])
        more = ", …" if len(files) > 3 else ""
        raise ValueError(
            f"the entry has no file {name}, which this phase scores; it holds {here}{more}"
        )
    if len(found) > 1:
        raise ValueError(f"the entry has {len(found)} files named {name}; keep one")
    return found[0]


def _write(path, text):
    """Write a file that appears whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def _files(folder):
    """The ordinary files below a folder, sorted, without hidden ones and macOS's own."""
    found, folders = [], [folder] if folder.is_dir() else []
    while folders:  # a list, because an entry may have more folders in each other than calls can
        for entry in os.scandir(folders.pop()):
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.is_file(follow_symlinks=False):
                found.append(Path(entry.path))
    return sorted(found)
