"""Score one entry where a challenge is hosted: python3 score.py INPUT OUTPUT

INPUT/ref holds the ground truth of one test set, INPUT/res the entry. OUTPUT gets scores.json, with
finite numbers alone, and detailed_results.html. For a bad entry there is one sentence, on stderr
and in the page, a status of 1, and no scores.json.

Needs numpy alone, and beside it copies of the kit's reader.py, matching.py, tracks.py,
metrics.py and bootstrap.py.
"""

import json
import os
import sys
from pathlib import Path

import bootstrap
import metrics
import numpy as np
import results_page
from matching import find_problems, match_rows
from reader import read_rows
from tracks import MAX_SCORE, RANKED, SUBMISSION_FILES, TEST_SETS, TRUTH_FILES

TIERS = {name: tier for tier, name in TRUTH_FILES.items()}


def main(arguments: list[str]) -> int:
    """Score INPUT into OUTPUT. Returns the exit status: 1, after one sentence, for a bad entry."""
    folder, output = map(Path, arguments)
    output.mkdir(parents=True, exist_ok=True)
    (output / "scores.json").unlink(missing_ok=True)
    try:
        scores, page = score(folder)
    except (ValueError, OSError, MemoryError) as problem:
        sentence = _plain(str(problem) or "the entry needs more memory than there is", 2000)
        write(output / "detailed_results.html", results_page.problem(sentence))
        print(sentence, file=sys.stderr)
        return 1
    write(output / "detailed_results.html", page)
    write(output / "scores.json", json.dumps(scores, allow_nan=False))  # last: all else is there
    return 0


def score(folder: Path) -> tuple[dict[str, float], str]:
    """The scores of folder/res for the ground truth in folder/ref, and the page about them.

    Raises ValueError, with what is wrong, if there is nothing that can be scored.
    """
    track = json.loads(Path(__file__).with_name("settings.json").read_text("utf-8"))["track"]
    truth = find_truth(folder / "ref")
    tier = TIERS[truth.name]
    path = find_entry(folder / "res", SUBMISSION_FILES[tier])
    predictions, responses, images = read_pair(path, truth)
    values, scores = compute_scores(predictions, responses, images, track)
    counts = {"trials": len(images), "images": len(set(images)), "neurons": responses.shape[1]}
    return scores, results_page.result(track, TEST_SETS[tier], values, scores, counts)


def compute_scores(predictions: np.ndarray, responses: np.ndarray, images: np.ndarray,
                   track: str) -> tuple[np.ndarray, dict[str, float]]:
    """Each neuron's score (N,) by which the track is ranked, and the columns of the leaderboard.

    predictions, responses: (T, N); images: (T,). Raises ValueError for numbers that the
    leaderboard cannot hold.
    """
    name = RANKED[track]
    fev = metrics.fev(responses, images)
    reliable = fev >= metrics.FEV_THRESHOLD
    neurons = {"single_trial": metrics.correlation(predictions, responses),
               "to_average": metrics.correlation_to_average(predictions, responses, images),
               "feve": metrics.feve(predictions, responses, images)[reliable]}
    scores = {key: float(values.mean()) for key, values in neurons.items()}
    scores["low"], scores["high"] = bootstrap.interval(
        bootstrap.IMAGE_SCORES[name](predictions, responses, images))
    for key, value in scores.items():
        if not abs(value) < MAX_SCORE:  # so neither NaN nor infinity
            raise ValueError(f"the score {key} is {value:.3g}, which the leaderboard cannot show; "
                             "give predictions in units of each neuron's std")
    return neurons[name], scores


# ---- files ----


def find_truth(folder: Path) -> Path:
    """The ground truth among the reference data. Raises ValueError unless there is exactly one."""
    found = [path for path in _files(folder) if path.name in TIERS]
    if len(found) != 1:
        raise ValueError("the reference data must hold one ground-truth file, and hold "
                         f"{len(found)}; this is the organisers' mistake, so tell them")
    return found[0]


def find_entry(folder: Path, name: str) -> Path:
    """The file of a test set in an entry, which may have a top folder and files of an archiver.

    Raises ValueError if there is none, or more than one.
    """
    files = [path for path in _files(folder) if path != folder / "metadata"]  # the platform's own
    found = [path for path in files if path.name == name]
    if not files:
        raise ValueError(f"the entry is empty: give a zip that holds {name}; leave out a file "
                         "metadata or metadata.yaml, for which the platform takes it for a program")
    if not found:
        here = ", ".join(_plain(path.name, 60) for path in files[:3])
        more = ", …" if len(files) > 3 else ""
        raise ValueError(f"the entry has no file {name}, which this phase scores; it holds "
                         f"{here}{more}")
    if len(found) > 1:
        raise ValueError(f"the entry has {len(found)} files named {name}; keep one")
    return found[0]


def read_pair(path: Path, truth: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions (T, N), responses (T, N) and images (T,) of an entry and its ground truth.

    Raises ValueError, with every problem, if they do not cover the same trials and neurons.
    """
    known = read_rows(truth, "responses", json.loads)
    trials, images = [row.trial for row in known], [row.image for row in known]
    responses = match_rows(known, trials)
    try:
        rows = read_rows(path, "prediction", json.loads)
    except (ValueError, OSError) as problem:
        raise ValueError(str(problem).replace(str(path), path.name)) from None
    problems = find_problems(rows, trials, images, known[0].neurons)
    if problems:
        raise ValueError(f"{path.name} cannot be scored: " + "; ".join(problems))
    return match_rows(rows, trials), responses, np.array(images)


def write(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def _files(folder):
    """The ordinary files below a folder, sorted, without hidden ones and those of macOS."""
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


def _plain(text, length):
    """Untrusted text on one line, cut to a length."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    return plain if len(plain) <= length else plain[:length - 1] + "…"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
