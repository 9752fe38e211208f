"""From an untrained model to a trained one.

In: a `Model`, a `Dataset` and a `TrainConfig`. Out: the model, trained in place, and its `History`;
from `train_many` the `Runs` of a sweep.
"""

from kit.training.config import History, TrainConfig
from kit.training.distillation import distill
from kit.training.loop import train, transfer
from kit.training.sweeps import Runs, train_many

__all__ = ["History", "Runs", "TrainConfig", "distill", "train", "train_many", "transfer"]
