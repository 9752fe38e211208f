"""From predictions to a graded submission.

In: a `Model` and the `Dataset` of a competition mouse, or the official CSV files. Out: submission
files, a `Report` of what is wrong with one, the `Scores` of one against its ground truth, and
rankings that say which entries differ. `withhold` makes a challenge from a recording of your own,
`bundle` what a platform needs to host it.
"""

from kit.challenge.codabench import BundleConfig, bundle
from kit.challenge.comparison import Comparison, compare
from kit.challenge.grading import grade, read_ground_truth, write_ground_truth
from kit.challenge.ranking import Ranking, rank, truth_file
from kit.challenge.submission import check, submit
from kit.challenge.watching import watch
from kit.challenge.withholding import WithholdConfig, withhold

__all__ = ["BundleConfig", "Comparison", "Ranking", "WithholdConfig", "bundle", "check", "compare",
           "grade", "rank", "read_ground_truth", "submit", "truth_file", "watch", "withhold",
           "write_ground_truth"]
