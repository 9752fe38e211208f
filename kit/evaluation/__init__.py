"""From predictions to scores.

In: a `Model` and a `Dataset`, or arrays of predictions and responses. Out: predictions (T, N) and
`Scores`. The formulas are in `metrics`.
"""

from kit.evaluation import metrics
from kit.evaluation.leaderboard import Scores, compute_scores
from kit.evaluation.scores import predict, predict_unchecked, score

__all__ = ["Scores", "compute_scores", "metrics", "predict", "predict_unchecked", "score"]
