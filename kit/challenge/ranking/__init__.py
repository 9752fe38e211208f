"""A folder of entries, ranked: which cannot be told apart from the best, and the same again."""

from kit.challenge.ranking.graded import image_alone
from kit.challenge.ranking.ranking import RankedEntry, Ranking, rank

__all__ = ["RankedEntry", "Ranking", "image_alone", "rank"]
