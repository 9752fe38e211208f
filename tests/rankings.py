"""Rankings of entries that are not there, for pages."""

import dataclasses

import numpy as np

from kit.challenge.ranking import RankedEntry, Ranking
from kit.evaluation.bootstrap import Difference


def ranking(names, track="sensorium+", images=60, **changes):
    """Entries that fall by .02; each but the first is significantly worse than the one before."""
    rows = []
    for place, name in enumerate(names):
        score, behind = 0.4 - 0.02 * place, 0.02 * place
        difference = Difference(behind, (behind - 0.01, behind + 0.01), 0.0004, images)
        ranks = (place + 1, place + 1)
        row = RankedEntry(name, score, (score - 0.01, score + 0.03), place == 0, ranks, difference,
                          0.0008, score, score + 0.2, score + 0.3, ())  # fmt: skip
        rows.append(row)
    pairs = np.full((len(names), len(names)), 0.0004)
    np.fill_diagonal(pairs, 1)
    made = Ranking(tuple(rows), {}, track, "test", images, 600, 0.39, pairs)
    return dataclasses.replace(made, **changes)


def change(made, place, **changes):
    """The ranking with one of its rows changed."""
    rows = list(made.rows)
    rows[place] = dataclasses.replace(rows[place], **changes)
    return dataclasses.replace(made, rows=tuple(rows))
