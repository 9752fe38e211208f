"""Sweeps: many trainings through joblib, one after another here or side by side on a cluster."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from socket import gethostname
from threading import Lock
from typing import NamedTuple

import joblib
import torch
from joblib.parallel import get_active_backend

from kit.data.recordings import Dataset, require_dataset
from kit.files import atomic_write, file_sha256, progress
from kit.models.baselines import cnn_baseline
from kit.models.checkpoints import load_model, save
from kit.models.model import Model, ModelConfig
from kit.training.config import History, TrainConfig
from kit.training.loop import train
from kit.training.resume import identity

ALONE = Lock()  # torch has one random state a process: where it has several threads, they wait
LOSSES = 3      # so many workers lost by one run, and it is given up


@dataclass(frozen=True, eq=False)
class Runs(Sequence):
    """Trained models in the order of their configs: a sequence, with histories and files beside."""

    models: tuple     # of `Model`; runs[0] is models[0]
    histories: tuple  # of `History`
    paths: tuple      # where the weights are, for `kit.load_model`

    def __getitem__(self, index):
        return self.models[index]

    def __len__(self):
        return len(self.models)

    def __repr__(self):
        return "\n".join(f"{path.stem}: {history}"
                         for path, history in zip(self.paths, self.histories, strict=True))


def train_many(configs, data, build=cnn_baseline, folder="runs"):
    """Train a model for each config, as `kit.train` does. Returns `Runs`, in the order of configs.

    configs: `TrainConfig`s, or pairs of a `ModelConfig` and a `TrainConfig`; alone, the model has
        the settings of the track's baseline and the training's seed.
    build: makes a model, called as build(data, config=ModelConfig): `kit.linear_baseline`,
        `functools.partial(kit.cnn_baseline, channels=16)` or a function of yours.
    folder: where every run leaves its weights, which `kit.load_model` reads, and its history when
        it is finished, and its state after each epoch until then. Names tell runs apart: mouse,
        settings and a hash of all that decides the result. The same call again reads what is
        finished and goes on with what is not.
    Runs one after another, here; inside `joblib.parallel_config("dask")` on the cluster of the Dask
    client, whose workers see the data folder and `folder` where this process does. Each trains one
    run at a time with the threads it was given; when it is lost, another goes on with its run.
    A run that fails, or loses three workers, ends no other. When all have ended, RuntimeError says
    which failed and why.
    Raises ValueError, before any work, for configs that are no such or twice the same and for data
    that do not fit.
    """
    tasks = _tasks(configs, data, build, folder)
    found = {task.name: history for task in tasks if (history := task.finished())}
    if found:
        print(f"{len(found)} of {len(tasks)} runs are finished already")
    for task in tasks:
        task.tries.unlink(missing_ok=True)  # of an earlier call: every call gives new chances
    failed = {}
    with progress(total=len(tasks), initial=len(found), desc="runs", unit="run") as bar:
        for name, outcome in _outcomes([task for task in tasks if task.name not in found]):
            (found if isinstance(outcome, History) else failed)[name] = outcome
            bar.update()
    if failed:
        _raise(failed, len(tasks), folder)
    return Runs(tuple(task.load() for task in tasks), tuple(found[task.name] for task in tasks),
                tuple(task.weights for task in tasks))


def _tasks(configs, data, build, folder):
    """A `_Task` for every config; each model is built once, so that faults are told first."""
    if torch.distributed.is_available() and torch.distributed.is_torchelastic_launched():
        raise ValueError("kit.train_many shares out whole runs, torchrun the steps of one; "
                         "start it without torchrun, or use kit.train")
    if not callable(build):
        raise ValueError(f"build={build!r} cannot be called; give a function that makes a model, "
                         "such as kit.cnn_baseline")
    listed = list(configs) if isinstance(configs, Sequence) else []
    if not listed:
        raise ValueError(f"{str(configs)[:80]} are no configs; give a list, such as "
                         "[kit.TrainConfig(seed=seed) for seed in range(5)]")
    for recording in require_dataset(data).values():
        recording.rows("train"), recording.rows("validation")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise type(problem)(f"{folder} cannot be a folder for runs: {problem.strerror.lower()}; "
                            "name another in folder") from None
    tasks, places = [], {}
    for place, config in enumerate(listed):
        tasks.append(_task(*_pair(config, place, data), data, build, Path(folder).absolute()))
        if (first := places.setdefault(tasks[-1].name, place)) != place:
            raise ValueError(f"configs[{first}] and configs[{place}] are the same training, "
                             f"{tasks[-1].name}; leave one out, or give it another seed")
    return tasks


def _pair(config, place, data):
    """A model's and a training's settings."""
    if isinstance(config, TrainConfig):
        return ModelConfig.of(data, seed=config.seed), config
    if (isinstance(config, tuple | list) and len(config) == 2
            and isinstance(config[0], ModelConfig) and isinstance(config[1], TrainConfig)):
        return tuple(config)
    raise ValueError(f"configs[{place}] is {str(config)[:80]}; give a kit.TrainConfig, or a pair "
                     "(kit.ModelConfig, kit.TrainConfig)")


# ---- one run ----

class _Task(NamedTuple):
    """All that one run needs, small enough to travel."""

    name: str              # of its files
    about: dict            # what decides the result, in plain words
    config: ModelConfig
    training: TrainConfig
    data: Dataset
    build: Callable
    folder: Path

    @property
    def weights(self):
        return self.folder / f"{self.name}.safetensors"

    @property
    def record(self):
        return self.folder / f"{self.name}.json"  # written last: with it the run is finished

    def model(self):
        """The untrained model: its seed fixes the first weights of every core."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            model = self.build(self.data, config=self.config)
        if not isinstance(model, Model):
            raise ValueError(f"build returned {type(model).__name__}, not a Model; it is called as "
                             "build(data, config=...), like kit.cnn_baseline")
        return model

    def load(self):
        """The trained model."""
        if not self.weights.is_file():
            raise FileNotFoundError(f"the run {self.name} is finished, and its weights are not at "
                                    f"{self.weights}; name a folder that every host sees")
        return load_model(self.weights, core=self.model().core)

    def finished(self):
        """Its `History` if the run is on disk, else None. Raises ValueError if it is another's."""
        try:
            record = json.loads(self.record.read_text())
            digest, about, history = (record[part] for part in ("weights", "training", "history"))
            history = History(**history)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            raise ValueError(f"{self.record} is not what a finished run leaves; delete it to train "
                             "the run again") from None
        if not self.weights.is_file():
            return None
        if about != self.about or digest != file_sha256(self.weights):
            raise ValueError(f"{self.weights} and {self.record.name} are not of this run; delete "
                             "both to train it again, or name another folder")
        return history

    def outcome(self):
        """Called where it is to be trained: (its name, its `History` or what was raised)."""
        try:
            with ALONE, _threads(), self.counted():
                return self.name, self.run()
        except Exception as problem:
            return self.name, problem

    @property
    def tries(self):
        return self.folder / f".{self.name}.tries"

    @contextmanager
    def counted(self):
        """Give up a run that lost several workers: a count stays only where one was lost."""
        try:
            with self.tries.open("a") as file:
                file.write("x")
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.folder} is not on host {gethostname()}; name a folder "
                                    "that every host sees") from None
        try:
            if self.tries.stat().st_size > LOSSES:
                raise RuntimeError(f"its worker was lost {LOSSES} times, most likely for want of "
                                   "memory")
            yield
        finally:
            self.tries.unlink(missing_ok=True)

    def run(self):
        """Train to the end, from wherever it is. Returns the `History`."""
        if history := self.finished():  # by a worker that was lost before it could say so
            return history
        model, state = self.model(), self.folder / f"{self.name}.checkpoint"
        history = train(model, self.data, self.training, state)
        if history.stopped == "interrupted":  # which ends a training well, but not a sweep
            raise KeyboardInterrupt
        save(model, self.weights)
        with atomic_write(self.record) as part:
            part.write_text(json.dumps({"training": self.about, "history": asdict(history),
                                        "weights": file_sha256(self.weights)}, indent=1))
        state.unlink(missing_ok=True)
        return history


def _task(config, training, data, build, folder):
    task = _Task("", {}, config, training, data, build, folder)
    model = task.model()
    model.validate_data(data)
    about = {**identity(model, data, training), "layers": str(model.core)}
    digest = sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    changed = [f"{part.name}{value}" for part in fields(training)
               if (value := getattr(training, part.name)) != part.default
               and part.name not in ("seed", "device")]
    parts = [next(iter(data)) if len(data) == 1 else f"{len(data)}-mice", *changed,
             f"seed{training.seed}", *[f"weights{config.seed}"] * (config.seed != training.seed)]
    return task._replace(name=f"{'-'.join(parts)[:80]}-{digest[:8]}", about=about)


# ---- where they run ----

def _outcomes(tasks):
    """(name, `History` or what was raised) of every task, as they end; where joblib is told to."""
    backend, _ = get_active_backend()
    if not hasattr(backend, "client"):
        yield from joblib.Parallel(batch_size=1, return_as="generator_unordered")(
            joblib.delayed(task.outcome)() for task in tasks)
        return
    # Dask: joblib would wait for ever for a run that the scheduler gives up, so it is asked itself
    from distributed import KilledWorker, as_completed

    def submit(task):
        return backend.client.submit(task.outcome, pure=False, **backend.submit_kwargs)

    under_way, again = {submit(task): task for task in tasks}, Counter()
    for future in (ended := as_completed(under_way)):
        task = under_way.pop(future)
        try:
            yield future.result()
        except KilledWorker as problem:  # also runs that only waited beside one that ends workers
            again[task.name] += 1
            if again[task.name] > LOSSES:
                yield task.name, problem
            else:
                under_way[new := submit(task)] = task
                ended.add(new)
        except Exception as problem:
            yield task.name, problem


@contextmanager
def _threads():
    """In a Dask worker let torch use as many threads as it was given, neither one nor all cores."""
    before = threads = torch.get_num_threads()
    if dask := sys.modules.get("distributed"):
        with suppress(ValueError):  # this is no worker
            threads = dask.get_worker().state.nthreads
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _raise(failed, total, folder):
    """Say which runs failed, and where the others are."""
    said = [f"{name}: {str(problem).splitlines()[0] if str(problem) else type(problem).__name__}"
            for name, problem in sorted(failed.items())[:3]]
    more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
    raise RuntimeError(
        f"{len(failed)} of {total} runs failed and {total - len(failed)} finished, in {folder}: "
        f"{'; '.join(said)}{more}. Leave these configs out, or change them, and call again: what "
        "is finished is read, not trained again") from next(iter(failed.values()))
