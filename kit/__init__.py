"""Predict mouse primary visual cortex: a starter kit for the SENSORIUM 2022 benchmark.

    data = kit.load("sample+")
    model = kit.cnn_baseline(data, channels=16)
    log = kit.train(model, data)
    scores = kit.score(model, data, "validation")
    kit.submit(model, data, "submissions/first")

One folder per stage, in the order in which data pass through: `kit.data`, `kit.models`,
`kit.training`, `kit.evaluation`, `kit.lab`, `kit.challenge`, `kit.plots`; `kit.widgets` on top.
"""

import signal
import sys
from importlib import import_module

if sys.argv[:1] == ["-m"] and "kit" in sys.orig_argv:  # python -m kit: its imports take seconds,
    signal.signal(signal.SIGINT, signal.SIG_DFL)       # and Ctrl-C ends them without a traceback

from kit import lab
from kit.challenge import BundleConfig as BundleConfig
from kit.challenge import WithholdConfig as WithholdConfig
from kit.challenge import (
    bundle,
    check,
    compare,
    grade,
    rank,
    submit,
    withhold,
    write_ground_truth,
)
from kit.data import Batch, load, truth
from kit.data import Dataset as Dataset
from kit.data import Recording as Recording
from kit.doctor import doctor
from kit.evaluation import Scores as Scores
from kit.evaluation import metrics, predict, score
from kit.files import data_folder
from kit.models import (
    Model,
    ModelConfig,
    ViTConfig,
    check_core,
    cnn_baseline,
    ensemble,
    layers,
    linear_baseline,
    load_model,
    pretrained,
    save,
    vit_baseline,
)
from kit.training import History as History
from kit.training import Runs as Runs
from kit.training import TrainConfig, train, train_many, transfer

# `X as X`: settings and types that are returned can be imported from here too.
__version__ = "0.1.0"
__all__ = [
    "Batch", "Model", "ModelConfig", "TrainConfig", "ViTConfig", "bundle", "check", "check_core",
    "cnn_baseline", "compare", "data_folder", "doctor", "ensemble", "grade", "lab", "layers",
    "linear_baseline", "load", "load_model", "metrics", "plots", "predict", "pretrained", "rank",
    "save", "score", "submit", "train", "train_many", "transfer", "truth", "vit_baseline",
    "widgets", "withhold", "write_ground_truth",
]


def __getattr__(name):
    if name in ("plots", "widgets"):  # imported on first use: matplotlib takes a second
        return import_module(f"kit.{name}")
    raise AttributeError(f"module 'kit' has no attribute {name!r}")


def __dir__():
    return __all__
