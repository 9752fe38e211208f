"""Match the rows that `reader` has read with the trials and neurons that a file must have.

This file imports numpy alone, so the scoring program of a bundle carries it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np


def match_rows(rows: list, trials: list[str]) -> np.ndarray:
    """The values (T, N) of rows without problems: trials as given, neurons by ascending id."""
    row_of = {row.trial: row for row in rows}
    rows = [row_of[trial] for trial in trials]
    order_of = {id(row.neurons): np.argsort(row.neurons) for row in _with_own_neurons(rows)}
    return np.stack([row.values[order_of[id(row.neurons)]] for row in rows])


def find_problems(
    rows: list, trials: Sequence[str], images: Iterable[str], unit_ids: np.ndarray
) -> list[str]:
    """Compare rows with the trials, their images and the neurons that a file must have.

    Returns a sentence for each kind of problem, with the rows, trials or neurons that have it; an
    empty list if there is none.
    """
    image_of = dict(zip(trials, images, strict=True))
    last_row = {row.trial: row for row in rows if row.trial}
    trial_faults = _compare([row.trial for row in rows if row.trial], trials)
    findings = _group_faults(rows)
    for fault, ids in trial_faults.items():
        labels = [_label(last_row[trial]) if trial in last_row else trial[:40] for trial in ids]
        findings.append((labels, "trial", fault))
    rows = [row for row in rows if row.trial in image_of and not row.fault]
    findings += _compare_neurons(rows, np.sort(unit_ids))
    other_image = [_label(row) for row in rows if row.image != image_of[row.trial]]
    findings.append((other_image, "trial", "with the image_ids of another image"))
    sentences = [_sentence(*finding) for finding in findings if len(finding[0])]
    if last_row and not last_row.keys() & image_of.keys():
        sentences.insert(
            0,
            "not one of its trials is in this test set, so it was made from "
            "another recording or tier",
        )
    return sentences


# ---- sentences ----


def _compare(found, expected):
    """The ids that are missing from those found, the duplicated ones, and those not expected."""
    counts, expected = Counter(found), dict.fromkeys(expected)
    return {
        "missing": [key for key in expected if key not in counts],
        "duplicated": [key for key, count in counts.items() if count > 1],
        "unknown": [key for key in counts if key not in expected],
    }


def _with_own_neurons(rows):
    """The first row of each list of neurons; rows with the same text share an array."""
    return {id(row.neurons): row for row in reversed(rows)}.values()


def _compare_neurons(rows, unit_ids):
    """The neurons that are missing, duplicated or unknown in any row, for `_sentence`.

    unit_ids: (N,) ascending. Arrays, not sets of Python's numbers: -1 and -2 have the same hash.
    """
    findings = {"missing": [], "duplicated": [], "unknown": []}  # fault -> (neurons, row)
    missed = np.zeros(len(unit_ids), bool)
    for row in sorted(_with_own_neurons(rows), key=lambda row: row.number):
        ids, counts = np.unique(row.neurons, return_counts=True)
        places = np.searchsorted(unit_ids, ids)
        known = places < len(unit_ids)
        known[known] = unit_ids[places[known]] == ids[known]
        present = np.zeros(len(unit_ids), bool)
        present[places[known]] = True
        findings["missing"].append((unit_ids[~present & ~missed], row))
        missed |= ~present
        findings["duplicated"].append((ids[counts > 1], row))
        findings["unknown"].append((ids[~known], row))
    return [_first_seen(fault, found) for fault, found in findings.items()]


def _first_seen(fault, found):
    """All neurons that have a fault, in the order in which they come up, for `_sentence`."""
    found = [(ids, row) for ids, row in found if len(ids)]
    if not found:
        return [], "neuron", fault
    ids = np.concatenate([ids for ids, _ in found])
    first = np.sort(np.unique(ids, return_index=True)[1])
    return ids[first], "neuron", f"{fault}, first in trial {_label(found[0][1])}"


def _group_faults(rows):
    """The rows that share a fault, for `_sentence`, and what the first of them has instead."""
    groups = {}
    for row in rows:
        if row.fault:
            groups.setdefault((bool(row.trial), row.fault), []).append(row)
    return [
        (
            [_label(row) for row in group],
            "trial" if has_trial else "row",
            f"{fault} (first: {group[0].found})",
        )
        for (has_trial, fault), group in groups.items()
    ]


def _label(row):
    return f"{row.trial[:40]} in row {row.number}" if row.trial else str(row.number)


def _sentence(ids, noun, fault):
    """A sentence such as "5 trials (a, b, c, …) missing"."""
    plural = "s" if len(ids) > 1 else ""
    more = ", …" if len(ids) > 3 else ""
    return f"{len(ids)} {noun}{plural} ({', '.join(map(str, ids[:3]))}{more}) {fault}"
