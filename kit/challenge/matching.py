"""Match the rows that `reader` has read with the trials and neurons that a file must have.

This file imports numpy alone, so the scoring program of a bundle carries it.
"""

from collections.abc import Iterable, Sequence

import numpy as np

OTHER_NEURONS = "with other neurons"


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
    unit_ids = np.sort(unit_ids)
    present = {row.trial for row in rows if row.trial}
    sentences = []
    if present and present.isdisjoint(image_of):
        sentences.append(
            "not one of its trials is in this test set, so it was made from "
            "another recording or tier"
        )
    missing = [trial[:40] for trial in image_of if trial not in present]
    if missing:
        sentences.append(f"{_count(missing, 'trial')} missing")
    rows_of = {}  # problem -> the rows that have it
    for row, problem in _row_problems(rows, image_of, unit_ids):
        rows_of.setdefault(problem, []).append(row)
    return sentences + [_describe(problem, rows_of[problem], unit_ids) for problem in rows_of]


def _row_problems(rows, image_of, unit_ids):
    """Each row with each of its problems, if it has any."""
    trials = set()
    for row in rows:
        if row.fault:
            yield row, row.fault
        if not row.trial:
            continue
        if row.trial in trials:
            yield row, "duplicated"
        trials.add(row.trial)
        if row.trial not in image_of:
            yield row, "unknown"
        elif not row.fault:
            if not np.array_equal(row.neurons, unit_ids):
                yield row, OTHER_NEURONS
            if row.image != image_of[row.trial]:
                yield row, "with the image_ids of another image"


def _describe(problem, rows, unit_ids):
    """A sentence about rows with a problem, such as "2 trials (a in row 2, b in row 3) unknown"."""
    first = rows[0]
    if problem == first.fault:
        problem += f" (first: {first.detail})"
    if problem == OTHER_NEURONS:
        problem += f" (first: {_compare_neurons(first.neurons, unit_ids)})"
    if not first.trial:
        return f"{_count([row.number for row in rows], 'row')} {problem}"
    labels = [f"{row.trial[:40]} in row {row.number}" for row in rows]
    return f"{_count(labels, 'trial')} {problem}"


def _compare_neurons(neurons, unit_ids):
    """The neurons (n,) of a row that differ from these (N,), for a sentence. Both are ascending."""
    differences = {
        "missing": np.setdiff1d(unit_ids, neurons),
        "duplicated": neurons[1:][np.diff(neurons) == 0],
        "unknown": np.setdiff1d(neurons, unit_ids),
    }
    return ", ".join(
        f"{_count(ids, 'neuron')} {kind}" for kind, ids in differences.items() if len(ids)
    )


def _count(items, noun):
    """A number of items and the first of them, such as "5 trials (a, b, c, …)"."""
    plural = "s" if len(items) > 1 else ""
    more = ", …" if len(items) > 3 else ""
    return f"{len(items)} {noun}{plural} ({', '.join(map(str, items[:3]))}{more})"
