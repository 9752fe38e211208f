"""Sweeps: many trainings, one after another here or side by side on a Dask cluster."""

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from socket import gethostname
from threading import Lock
from typing import Any

import torch

from kit.checks import brief, require_path
from kit.data.recordings import Dataset, require_dataset
from kit.files import atomic_write, file_sha256, make_folder, progress, started_by_torchrun
from kit.machine import use_threads
from kit.models.baselines import cnn_baseline
from kit.models.checkpoints import load_model, save
from kit.models.config import ModelConfig
from kit.models.model import Model
from kit.training.config import History, TrainConfig
from kit.training.loop import train
from kit.training.nonfinite import require_trainable
from kit.training.resume import identity, weights_digest

ONE_RUN = Lock()  # the threads of a process share torch's random state, so their runs take turns


@dataclass(frozen=True, eq=False)
class Runs(Sequence):
    """A sequence of trained models in the order of their configs, with histories and files."""

    models: tuple[Model, ...]  # runs[0] is models[0]
    histories: tuple[History, ...]
    paths: tuple[Path, ...]  # of the weights, for `kit.load_model`

    def __getitem__(self, index: Any) -> Any:
        return self.models[index]

    def __len__(self) -> int:
        return len(self.models)

    def __repr__(self) -> str:
        return "\n".join(
            f"{path.stem}: {history}"
            for path, history in zip(self.paths, self.histories, strict=True)
        )


def train_many(
    configs: Sequence[TrainConfig | tuple[ModelConfig, TrainConfig]],
    data: Dataset,
    build: Callable[..., Model] = cnn_baseline,
    folder: str | Path = "runs",
) -> Runs:
    """Train a model for each config, as `kit.train` does. Returns `Runs`, in the order of configs.

    configs: `TrainConfig`s, or pairs of a `ModelConfig` and a `TrainConfig`. Without a
        `ModelConfig` the model has the settings of the track's baseline and the training's seed.
    build: makes a model, called as build(data, config=ModelConfig): `kit.linear_baseline`,
        `functools.partial(kit.cnn_baseline, channels=16)` or your own function.
    folder: for each run its weights, which `kit.load_model` reads, and its history; until it is
        finished, its state after each epoch. File names consist of the mouse, the settings and a
        hash of all that decides the result. The same call again reads finished runs and continues
        the others.
    If this process has a `distributed.Client`, its Dask workers train the runs, and must see the
    data folder and `folder` at the same paths; otherwise the runs are trained here, one after
    another. Each worker trains one run at a time with the threads it was given. If a worker is
    lost, another one continues its run, until Dask's `allowed-failures` is exceeded.
    A run that fails ends no other. At the end RuntimeError says which runs failed and why.
    Raises ValueError, before any work, for configs that are not possible or twice the same, and for
    data that do not fit.

    >>> data = kit.load("sample+").subset(64)
    >>> pairs = [(kit.ModelConfig.of(data, shifter=False), kit.TrainConfig.quick(epochs=1))]
    >>> runs = kit.train_many(pairs, data, kit.linear_baseline)
    >>> len(runs), runs.histories[0].stopped
    (1, 'all 1 epochs done')
    """
    tasks = _tasks(configs, data, build, folder)
    results = {task.name: task.finished() for task in tasks}
    waiting = [task for task in tasks if results[task.name] is None]
    finished = len(tasks) - len(waiting)
    if finished:
        print(f"{finished} of {len(tasks)} runs are finished already")
    with progress(total=len(tasks), initial=finished, desc="runs", unit="run") as bar:
        for name, result in _results(waiting):
            results[name] = result
            bar.update()
    failures = {name: result for name, result in results.items() if not isinstance(result, History)}
    if failures:
        raise _failed(failures, len(tasks), folder) from next(iter(failures.values()))
    models = tuple(task.load() for task in tasks)
    return Runs(models, tuple(results.values()), tuple(task.weights for task in tasks))


def _tasks(configs, data, build, folder):
    """A `_Task` for every config. Models are built once so that mistakes show before any work."""
    if started_by_torchrun():
        raise ValueError("kit.train_many trains whole runs; start it without torchrun")
    if not isinstance(configs, Sequence) or not configs:
        raise ValueError(f"{brief(configs)} are not configs; give a list of kit.TrainConfig(...)")
    folder = make_folder(require_path("folder", folder).absolute(), "name another one in folder")
    tasks = {}
    for index, config in enumerate(configs):
        task = _task(*_pair(config, index, data), data, build, folder)
        if task.name in tasks:
            raise ValueError(f"configs[{index}] is {task.name} once more; give it another seed")
        tasks[task.name] = task
    return list(tasks.values())


def _pair(config, index, data):
    """The settings of a model and its training."""
    if isinstance(config, TrainConfig):
        return ModelConfig.of(require_dataset(data), seed=config.seed), config
    if isinstance(config, tuple | list) and list(map(type, config)) == [ModelConfig, TrainConfig]:
        return config
    raise ValueError(
        f"configs[{index}] is {brief(config)}; give a TrainConfig or (ModelConfig, TrainConfig)"
    )


def _task(model_config, config, data, build, folder):
    """A task named after its mouse, its settings and a hash of all that decides the result."""
    model = _build(build, data, model_config)
    require_trainable(model, data)
    about = identity(model, data, config)
    about |= {"layers": str(model.core), "first weights": weights_digest(model.state_dict())}
    words = [*data] if len(data) == 1 else [f"{len(data)}-mice"]
    for field in fields(config):
        value = getattr(config, field.name)
        if value != field.default and field.name not in ("seed", "device"):
            words.append(f"{field.name}{value}")
    words.append(f"seed{config.seed}")
    if model_config.seed != config.seed:
        words.append(f"weights{model_config.seed}")
    digest = sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    name = f"{'-'.join(words)[:80]}-{digest[:8]}"
    return _Task(name, about, model_config, config, data, build, folder)


def _build(build, data, model_config):
    """An untrained model: its seed fixes the first weights of every core."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(model_config.seed)
        model = build(data, config=model_config) if callable(build) else None
    if isinstance(model, Model):
        return model
    raise ValueError(
        f"build={brief(build)!r} makes no Model; give a function that is called as "
        "build(data, config=...), like kit.cnn_baseline"
    )


@dataclass(frozen=True)
class _Task:
    """All that a worker needs to train one run; its recordings are pickled as their paths."""

    name: str  # of its files
    identity: dict  # what decides the result
    model_config: ModelConfig
    config: TrainConfig
    data: Dataset
    build: Callable
    folder: Path

    @property
    def weights(self):
        return self.folder / f"{self.name}.safetensors"

    @property
    def record(self):
        """The file with the history and the identity, written last."""
        return self.folder / f"{self.name}.json"

    def model(self):
        """The untrained model."""
        return _build(self.build, self.data, self.model_config)

    def load(self):
        """The trained model."""
        return load_model(self.weights, core=self.model().core)

    def finished(self):
        """The `History` if the run is on disk. Raises ValueError if the files are of another."""
        if not (self.weights.is_file() and self.record.is_file()):
            return None
        try:
            saved = json.loads(self.record.read_text())
            if saved["training"] == self.identity and saved["weights"] == file_sha256(self.weights):
                return History(**saved["history"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        raise ValueError(
            f"{self.weights} and {self.record.name} are not of this run; delete both to train it "
            "again, or name another folder"
        )

    def result(self):
        """Train the run in this process. Returns its `History`, or the exception it raised."""
        try:
            if not self.folder.is_dir():
                name = f"{self.folder} on host {gethostname()}"
                raise FileNotFoundError(f"there is no {name}; name one that every host sees")
            with ONE_RUN, use_threads(_worker_threads()):
                return self.finished() or self.train()
        except Exception as problem:
            return problem

    def train(self):
        """Train to the end, from the last saved state if there is one, and write the files."""
        model = self.model()
        state = self.folder / f"{self.name}.checkpoint"
        history = train(model, self.data, self.config, state)
        if history.stopped == "interrupted":  # which also ends the sweep
            raise KeyboardInterrupt
        save(model, self.weights)
        digest = file_sha256(self.weights)
        record = {"training": self.identity, "history": asdict(history), "weights": digest}
        with atomic_write(self.record) as part:  # written last: now the run is finished
            part.write_text(json.dumps(record, indent=1))
        state.unlink(missing_ok=True)
        return history


def _results(tasks):
    """Train all tasks, on the Dask cluster if there is one. Yields (name, result) as they end."""
    client = _dask_client()
    if client is None:
        for task in tasks:
            yield task.name, task.result()
        return
    from distributed import KilledWorker, as_completed

    futures = {client.submit(task.result, pure=False): task for task in tasks}
    killed = []
    for future in as_completed(futures):
        if isinstance(future.exception(), KilledWorker):
            killed.append(futures[future])
        else:
            yield futures[future].name, future.exception() or future.result()
    for task in killed:  # once more, one by one: most only waited on a worker that another ended
        future = client.submit(task.result, pure=False)
        yield task.name, future.exception() or future.result()


def _dask_client():
    """The Dask client of this process, or None."""
    if dask := sys.modules.get("distributed"):  # imported by whoever made a client
        with suppress(ValueError):  # there is none
            return dask.get_client()
    return None


def _worker_threads():
    """The threads that a Dask worker was given; elsewhere those that torch has."""
    if dask := sys.modules.get("distributed"):
        with suppress(ValueError):  # this is not a worker
            return dask.get_worker().state.nthreads
    return torch.get_num_threads()


def _failed(failures, total, folder):
    """An error that says how many runs failed, and of three of them why."""
    reasons = []
    for name, problem in sorted(failures.items())[:3]:
        first_line = str(problem).partition("\n")[0]
        reasons.append(f"{name}: {first_line or type(problem).__name__}")
    return RuntimeError(
        f"{len(failures)} of {total} runs failed and {total - len(failures)} finished, in "
        f"{folder}: {'; '.join(reasons)}. Leave these configs out, or change them, and call "
        "again: finished runs are read, not trained again"
    )
