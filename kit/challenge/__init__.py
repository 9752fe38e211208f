"""From predictions to a graded submission.

In: a `Model` and the `Dataset` of a competition mouse, or the official CSV files. Out: submission
files, a `Report` of what is wrong with one, and the `Scores` of one against its ground truth.
"""

from kit.challenge.grading import grade, write_ground_truth
from kit.challenge.submission import check, submit

__all__ = ["check", "grade", "submit", "write_ground_truth"]
