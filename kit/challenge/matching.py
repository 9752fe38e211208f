"""Match the rows that `reader` has read with the trials and neurons that a file must have.

This file imports numpy alone, so the scoring program of a bundle carries it.
"""

from collections.abc import Iterable, Sequence

import numpy as np


def match_rows(rows: list, trials: list[str]) -> np.ndarray:
    """The values (T, N) of rows without problems: trials as given, neurons by ascending id."""
    values = {row.trial: row.values for row in rows}
    return np.array([values[trial] for trial in trials])


def find_problems(
    rows: list, trials: Sequence[str], images: Iterable[str], unit_ids: np.ndarray
) -> list[str]:
    """Compare rows with the trials, their images and the neurons that a file must have.

    Returns a sentence for each kind of problem, with the rows or trials that have it; an empty
    list if there is none.
    """
    image_of = dict(zip(trials, images, strict=True))
    first_row = {row.trial: row for row in reversed(rows) if row.trial}
    problems = []
    if first_row and not first_row.keys() & image_of.keys():
        problems.append(
            "not one of its trials is in this test set, so it was made from "
            "another recording or tier"
        )
    faulty_rows = {}
    for row in rows:
        if row.fault:
            faulty_rows.setdefault(row.fault, []).append(row)
    for fault, group in faulty_rows.items():
        problems += _describe(group, f"{fault} (first: {group[0].found})")
    missing = [trial[:40] for trial in image_of if trial not in first_row]
    if missing:
        problems.append(f"{_count(missing, 'trial')} missing")
    problems += _describe(
        [row for row in rows if row.trial and first_row[row.trial] is not row], "duplicated"
    )
    problems += _describe(
        [row for row in rows if row.trial and row.trial not in image_of], "unknown"
    )
    whole = [row for row in rows if row.trial in image_of and not row.fault]
    problems += _compare_neurons(whole, np.sort(unit_ids))
    problems += _describe(
        [row for row in whole if row.image != image_of[row.trial]],
        "with the image_ids of another image",
    )
    return problems


def _compare_neurons(rows, unit_ids):
    """A sentence about rows with other neurons than these (N,), ascending, or none."""
    rows = [row for row in rows if not np.array_equal(row.neurons, unit_ids)]
    if not rows:
        return []
    neurons = rows[0].neurons
    differences = {
        "missing": np.setdiff1d(unit_ids, neurons),
        "duplicated": neurons[1:][np.diff(neurons) == 0],
        "unknown": np.setdiff1d(neurons, unit_ids),
    }
    texts = [f"{_count(ids, 'neuron')} {kind}" for kind, ids in differences.items() if len(ids)]
    return _describe(rows, f"with other neurons (first: {', '.join(texts)})")


def _describe(rows, problem):
    """A sentence about rows with a problem, such as "2 trials (a in row 2, b in row 3) unknown"."""
    if not rows:
        return []
    labels = [f"{row.trial[:40]} in row {row.number}" if row.trial else row.number for row in rows]
    return [f"{_count(labels, 'trial' if rows[0].trial else 'row')} {problem}"]


def _count(items, noun):
    """A number of items and the first of them, such as "5 trials (a, b, c, …)"."""
    plural = "s" if len(items) > 1 else ""
    more = ", …" if len(items) > 3 else ""
    return f"{len(items)} {noun}{plural} ({', '.join(map(str, items[:3]))}{more})"
