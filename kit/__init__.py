"""Predict mouse primary visual cortex: a starter kit for the SENSORIUM 2022 benchmark.

    data = kit.load("sample+")
    model = kit.cnn_baseline(data, channels=16)
    log = kit.train(model, data)
    scores = kit.score(model, data, "validation")
    kit.submit(model, data, "submissions/first")

One folder per stage, in the order in which data pass through: `kit.data`, `kit.models`,
`kit.training`, `kit.evaluation`, `kit.challenge`, `kit.lab`, `kit.hosting`; `kit.plots`,
`kit.pages` and `kit.widgets` show what they return.
"""

import signal
import sys
from importlib import import_module
from typing import TYPE_CHECKING

if sys.argv[:1] == ["-m"] and "kit" in sys.orig_argv:  # python -m kit: its imports take seconds,
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # and Ctrl-C ends them without a traceback

from kit import lab
from kit.challenge import check, compare, grade, rank, submit, write_ground_truth
from kit.data import Batch, RecordingArrays, load, truth, write_recording
from kit.data import Dataset as Dataset
from kit.data import Recording as Recording
from kit.evaluation import Scores as Scores
from kit.evaluation import metrics, predict, score
from kit.evaluation.cards import card
from kit.files import data_folder
from kit.hosting import BundleConfig as BundleConfig
from kit.hosting import WithholdConfig as WithholdConfig
from kit.hosting import withhold
from kit.hosting.bundle import bundle
from kit.machine import doctor
from kit.models import (
    Model,
    ModelConfig,
    cnn_baseline,
    layers,
    linear_baseline,
    load_model,
    save,
    strong_baseline,
    vit_baseline,
)
from kit.models import ViTConfig as ViTConfig
from kit.models.cores.check_core import check_core
from kit.models.ensemble import ensemble
from kit.models.pretrained import pretrained
from kit.training import History as History
from kit.training import Runs as Runs
from kit.training import TrainConfig, train, train_many, transfer

if TYPE_CHECKING:  # so editors complete what `__getattr__` imports
    from kit import plots, widgets

# `X as X`: settings and types that are returned can be imported from here too.
__version__ = "0.1.0"
__all__ = [
    "Batch",
    "Model",
    "ModelConfig",
    "RecordingArrays",
    "TrainConfig",
    "bundle",
    "card",
    "check",
    "check_core",
    "cnn_baseline",
    "compare",
    "data_folder",
    "doctor",
    "ensemble",
    "grade",
    "lab",
    "layers",
    "linear_baseline",
    "load",
    "load_model",
    "metrics",
    "plots",
    "predict",
    "pretrained",
    "rank",
    "save",
    "score",
    "strong_baseline",
    "submit",
    "train",
    "train_many",
    "transfer",
    "truth",
    "vit_baseline",
    "widgets",
    "withhold",
    "write_ground_truth",
    "write_recording",
]


def __getattr__(name):
    if name in ("plots", "widgets"):  # imported on first use: matplotlib takes a second
        return import_module(f"kit.{name}")
    raise AttributeError(f"module 'kit' has no attribute {name!r}")


def __dir__():
    return __all__
