"""The entrant's side, and the ranking: from predictions to a graded submission.

In: a `Model` and the `Dataset` of a competition mouse, or the official CSV files. Out: submission
files, a `Report` of what is wrong with one, the `Scores` of one against its ground truth, and
rankings that say which entries differ.
"""

from kit.challenge.comparison import Comparison, compare
from kit.challenge.csv_files import write_rows
from kit.challenge.grading import grade, write_ground_truth
from kit.challenge.ground_truth import read_ground_truth
from kit.challenge.ranking import Ranking, rank
from kit.challenge.ranking.entries import truth_file
from kit.challenge.submission import check, submit
from kit.challenge.tracks import SUBMISSION_FILES
from kit.challenge.watching import watch

__all__ = [
    "SUBMISSION_FILES",
    "Comparison",
    "Ranking",
    "check",
    "compare",
    "grade",
    "rank",
    "read_ground_truth",
    "submit",
    "truth_file",
    "watch",
    "write_ground_truth",
    "write_rows",
]
