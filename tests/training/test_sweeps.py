"""Sweeps: in one process, on a Dask cluster and after a kill; always the same, bit for bit."""

import dataclasses
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from trainer import interrupted_at

import kit
import kit.training.loop
import kit.training.sweeps
from kit.machine import use_threads

ROOT = Path(__file__).resolve().parents[2]
SIZE = (18, 32)
build = partial(kit.linear_baseline, channels=2)


quick = partial(kit.TrainConfig, epochs=2, batch_size=16, device="cpu")


@pytest.fixture(scope="module")
def data(folder):
    return kit.load(tiny.write(folder), SIZE, folder / "data")


CONFIGS = [quick(seed=seed) for seed in (0, 1, 2)]


@pytest.fixture(scope="module")
def runs(data, folder):
    """Three runs, one after another."""
    return kit.train_many(CONFIGS, data, build, folder / "runs")


def files(runs):
    """The weights on disk, byte for byte."""
    return [path.read_bytes() for path in runs.paths]


def logs(runs):
    """The histories, but for how long they took."""
    return [{**dataclasses.asdict(history), "seconds": None} for history in runs.histories]


@pytest.fixture
def no_training(monkeypatch):
    monkeypatch.setattr(kit.training.loop, "poisson_loss", lambda *_: pytest.fail("trained"))


# ---- sweeps in this process ----


def test_train_many_trains_as_train_does(runs, data):
    for config, model, history in zip(CONFIGS, runs, runs.histories, strict=True):
        alone = build(data, config=kit.ModelConfig.of(data, seed=config.seed))
        log = kit.train(alone, data, config)
        assert (log.loss, log.correlation) == (history.loss, history.correlation)
        for name, value in alone.state_dict().items():
            assert torch.equal(value, model.state_dict()[name]), name
    assert len(runs) == 3
    assert not any(model.training for model in runs)
    assert repr(runs).count("stopped: all 2 epochs done") == 3
    assert kit.score(kit.ensemble(runs), data, "validation").single_trial


def test_train_many_files(runs, data, folder):
    assert len(list((folder / "runs").iterdir())) == 6
    for path, model, history in zip(runs.paths, runs, runs.histories, strict=True):
        read = kit.load_model(path)
        np.testing.assert_array_equal(
            kit.predict(read, data, "test"), kit.predict(model, data, "test")
        )
        record = json.loads(path.with_suffix(".json").read_text())
        assert kit.History(**record["history"]) == history
        assert record["training"]["epochs"] == "2"


def names(configs, data, make, folder):
    return [task.name for task in kit.training.sweeps._tasks(configs, data, make, folder)]


def test_names_of_runs(data, other, tmp_path):
    wide = kit.ModelConfig.of(data, shifter=False, seed=7)
    both = kit.Dataset([data.mouse, other.mouse])
    every = [
        *names([quick(), quick(lr=0.003), (wide, quick())], data, build, tmp_path),
        *names([quick()], data, partial(build, channels=3), tmp_path),
        *names([quick()], data, kit.cnn_baseline, tmp_path),
        *names([quick()], both, build, tmp_path),
    ]
    same = "7-1-1-epochs2-batch_size16-seed42"
    assert [name[:-9] for name in every[:-1]] == [  # but for -, and eight figures
        same, "7-1-1-epochs2-lr0.003-batch_size16-seed42", f"{same}-weights7", same, same,
    ]  # fmt: skip
    assert every[-1].startswith("2-mice-")
    assert len(set(every)) == 6


def test_names_differ_for_other_data_or_weights(data, tmp_path):
    changed = dataclasses.replace(
        data.mouse, statistics={n: 2 * v for n, v in data.mouse.statistics.items()}
    )

    def dropping(p):
        def own(data, config):
            core = torch.nn.Sequential(torch.nn.Conv2d(4, 2, 9), torch.nn.Dropout(p))
            return kit.Model(core, data.neurons, config)

        return own

    def pretrained(data, config):
        model = build(data, config=config)
        next(model.core.parameters()).data[0] *= 2
        return model

    pairs = [(data, build), (kit.Dataset([changed]), build), (data, dropping(0.1)),
             (data, dropping(0.2)), (data, pretrained)]  # fmt: skip
    assert len({names([quick()], mice, make, tmp_path)[0] for mice, make in pairs}) == 5


def test_train_many_default_model_config(data, folder):
    path = tiny.write(folder, mouse="9-1-1", withholds=("behavior",))
    withheld = kit.load(path, SIZE, folder / "data")
    (task,) = kit.training.sweeps._tasks([quick(seed=5)], data, build, folder)
    assert task.model_config == kit.ModelConfig(True, True, SIZE, 5)
    (task,) = kit.training.sweeps._tasks([quick(seed=5)], withheld, build, folder)
    assert task.model_config == kit.ModelConfig(False, False, SIZE, 5)
    assert kit.cnn_baseline(data, 2).config == kit.ModelConfig.of(data)


def own(data, config):
    """A core of one's own that takes its first weights from wherever torch's seed stands."""
    core = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 9), torch.nn.BatchNorm2d(2))
    return kit.Model(core, data.neurons, config)


def test_train_many_own_core_is_reproducible(data, tmp_path):
    config = kit.ModelConfig.of(data, behavior_channels=False, seed=3)
    runs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        runs.append(kit.train_many([(config, quick())], data, own, tmp_path / str(seed)))
        assert torch.equal(before, torch.get_rng_state())
    assert files(runs[0]) == files(runs[1])
    assert kit.predict(runs[0][0], data, "test").shape == (11, 24)


def test_train_many_reads_finished_runs(runs, data, folder, capsys, no_training):
    again = kit.train_many(CONFIGS[::-1], data, build, folder / "runs")
    assert again.histories == runs.histories[::-1]
    assert again.paths == runs.paths[::-1]
    assert "3 of 3 runs are finished already" in capsys.readouterr().out


def test_train_many_trains_missing_runs(runs, data, tmp_path, capsys):
    for path in runs.paths[:2]:
        shutil.copy(path, tmp_path)
        shutil.copy(path.with_suffix(".json"), tmp_path)
    (tmp_path / runs.paths[1].name).unlink()  # a record without weights is no run
    again = kit.train_many(CONFIGS, data, build, tmp_path)
    assert "1 of 3 runs are finished" in capsys.readouterr().out
    assert files(again) == files(runs)


@pytest.mark.parametrize(
    "configs, said",
    [
        ([], r"\[\] are not configs; give a list"),
        (quick(), "are not configs; give a list"),
        ([quick(), 3], r"configs\[1\] is 3; give a TrainConfig or"),
        ([(quick(), kit.ModelConfig())], r"configs\[0\] is \(TrainConfig.*; give a TrainConfig"),
        ([quick(), quick(seed=1), quick()], r"configs\[2\] is 7-1-1-.* once more; give it another"),
        ([(kit.ModelConfig(image_size=(36, 64)), quick())], r"takes \(36, 64\) images, the data"),
        ([(kit.ModelConfig(image_size=(4, 4)), quick())], "core cannot take images"),
    ],
    ids=str,
)
def test_train_many_refuses_configs(data, tmp_path, no_training, configs, said):
    with pytest.raises(ValueError, match=said) as caught:
        kit.train_many(configs, data, build, tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_train_many_refuses_other_mistakes(data, tmp_path, monkeypatch, no_training):
    (tmp_path / "file").write_text("")
    for error, arguments, message in (
        (ValueError, ("sample", build, tmp_path), "a Dataset is needed, not a str"),
        (ValueError, (data, lambda data, config: "model", tmp_path), "makes no Model; give a func"),
        (OSError, (data, build, tmp_path / "file"), r"/file' cannot be used: .*; name another"),
    ):
        with pytest.raises(error, match=message):
            kit.train_many(CONFIGS, *arguments)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with pytest.raises(ValueError, match="start it without torchrun"):
        kit.train_many(CONFIGS, data, build, tmp_path)


def test_train_many_failed_run_ends_no_other(runs, data, tmp_path):
    high = quick(lr=1e30, one_cycle=False)
    configs = [CONFIGS[0], high, CONFIGS[1]]
    with pytest.raises(RuntimeError, match="1 of 3 runs failed and 2 finished, in") as caught:
        kit.train_many(configs, data, build, tmp_path)
    assert "lr1e+30" in str(caught.value)
    assert "; build the model again and try lr=3e+29. Leave these" in str(caught.value)
    assert isinstance(caught.value.__cause__, FloatingPointError)
    assert files(runs)[:2] == [(tmp_path / path.name).read_bytes() for path in runs.paths[:2]]
    again = kit.train_many(CONFIGS[:2], data, build, tmp_path)
    assert logs(again) == logs(runs)[:2]


def test_train_many_refuses_files_of_another_run(runs, data, tmp_path):
    weights = tmp_path / runs.paths[0].name
    record = weights.with_suffix(".json")
    right, other = [path.with_suffix(".json").read_text() for path in runs.paths[:2]]

    def read(weights_of, text):
        shutil.copy(weights_of, weights)
        record.write_text(text)
        return kit.train_many(CONFIGS[:1], data, build, tmp_path)

    read(runs.paths[0], right)
    for weights_of, text in (
        (runs.paths[1], right), (runs.paths[1], other), (runs.paths[0], ""), (runs.paths[0], "{"),
        (runs.paths[0], "[]"), (runs.paths[0], "{}"), (runs.paths[0], right.replace("loss", "a")),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="are not of this run; delete both"):
            read(weights_of, text)
    record.unlink()
    record.with_suffix(".checkpoint").write_text("something else")
    with pytest.raises(RuntimeError, match=r"not a checkpoint that this version"):
        kit.train_many(CONFIGS[:1], data, build, tmp_path)


def test_train_many_interrupted(runs, data, tmp_path):
    with interrupted_at(4), pytest.raises(KeyboardInterrupt):  # the second epoch of the second run
        kit.train_many(CONFIGS, data, build, tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [
        ".checkpoint", ".json", ".safetensors",
    ]  # fmt: skip
    again = kit.train_many(CONFIGS, data, build, tmp_path)
    assert files(again) == files(runs)
    assert len(list(tmp_path.iterdir())) == 6


def test_train_many_killed(runs, data, folder, tmp_path, capsys):
    process = textwrap.dedent(f"""
        import sys
        sys.path[:0] = [{str(ROOT / "tests")!r}, {str(ROOT / "tests/training")!r}]
        import trainer, test_sweeps
        import kit
        data = kit.load(sys.argv[1], test_sweeps.SIZE, sys.argv[2])
        with trainer.dying_at(3 + 2 + 6):  # four steps to go in the second run
            kit.train_many(test_sweeps.CONFIGS, data, test_sweeps.build, sys.argv[3])
    """)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    source = folder / "static7-1-1-GrayImageNet-tiny.zip"
    killed = subprocess.run(
        [sys.executable, "-c", process, source, folder / "data", tmp_path],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = sorted(file.suffix for file in tmp_path.iterdir())
    assert left == [".checkpoint", ".json", ".safetensors"]
    again = kit.train_many(CONFIGS, data, build, tmp_path)
    assert "1 of 3 runs are finished" in capsys.readouterr().out
    assert files(again) == files(runs)
    assert logs(again) == logs(runs)
    assert len(list(tmp_path.iterdir())) == 6


def test_result_of_two_threads_take_turns(runs, data, tmp_path):
    tasks = kit.training.sweeps._tasks(CONFIGS, data, build, tmp_path)
    with ThreadPoolExecutor(2) as pool:
        histories = list(pool.map(lambda task: task.result(), tasks))
    assert [history.loss for history in histories] == [log.loss for log in runs.histories]
    assert [task.weights.read_bytes() for task in tasks] == files(runs)


def test_worker_threads(monkeypatch):
    assert kit.training.sweeps._worker_threads() == torch.get_num_threads()
    worker = SimpleNamespace(state=SimpleNamespace(nthreads=3))
    module = SimpleNamespace(get_worker=lambda: worker)
    monkeypatch.setitem(sys.modules, "distributed", module)
    assert kit.training.sweeps._worker_threads() == 3


def test_folder_missing_on_a_host(data, tmp_path):
    (task,) = kit.training.sweeps._tasks([quick()], data, build, tmp_path / "runs")
    with pytest.raises(FileNotFoundError, match=task.name):
        task.load()
    (tmp_path / "runs").rmdir()
    problem = task.result()
    assert isinstance(problem, FileNotFoundError)
    assert f"there is no {tmp_path / 'runs'} on host" in str(problem)


# ---- recordings travel ----


def test_pickled_recording_is_its_path(data, other):
    both = kit.Dataset([data.mouse, other.mouse])
    sent = pickle.dumps(both)
    assert len(sent) < 10_000  # of some 340,000: the tiers of 140 trials, and two places
    for mouse, recording in pickle.loads(sent).items():
        for field in dataclasses.fields(kit.Recording):
            if field.name != "statistics":
                np.testing.assert_equal(
                    getattr(recording, field.name), getattr(both[mouse], field.name)
                )
        assert recording.statistics.keys() == both[mouse].statistics.keys()
        assert isinstance(recording.images, np.memmap)


def test_pickled_changed_recording_is_whole(data):
    changed = dataclasses.replace(data.mouse, responses=1 - data.mouse.responses)
    read = pickle.loads(pickle.dumps(changed))
    np.testing.assert_array_equal(read.responses, 1 - data.mouse.responses)
    np.testing.assert_array_equal(read.images, data.mouse.images)
    assert not read.images.flags.writeable


def test_pickled_recording_missing(folder, tmp_path):
    data = kit.load(folder / "static7-1-1-GrayImageNet-tiny.zip", SIZE, tmp_path / "other")
    sent = pickle.dumps(data)
    shutil.rmtree(tmp_path / "other")
    with pytest.raises(FileNotFoundError, match=r"7-1-1") as caught:
        pickle.loads(sent)
    assert "\n" not in str(caught.value)


# ---- on a cluster ----


@pytest.fixture(scope="module")
def cluster(expected):
    """A scheduler and two workers in processes of their own."""
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1", "processes": True}
    with distributed.LocalCluster(**options, dashboard_address=":0") as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with cluster.get_client() as client:
        yield client


class Deadly:
    """Builds a model that kills its worker at a batch; by default in the second epoch, once."""

    def __init__(self, folder, batch=6, losses=1):
        self.folder, self.batch, self.losses = folder, batch, losses

    def __call__(self, data, config):
        model, batches = build(data, config=config), []

        def count(*_):
            batches.append(1)
            killed = len(list(self.folder.glob("killed*")))
            if len(batches) == self.batch and killed < self.losses:
                (self.folder / f"killed{killed}").touch()
                os.kill(os.getpid(), signal.SIGKILL)

        if multiprocessing.parent_process() is not None and config.seed == 1:
            model.register_forward_hook(count)
        return model


@pytest.fixture(scope="module")
def expected(data, folder):
    with use_threads(1):
        return kit.train_many(CONFIGS, data, build, folder / "one-thread")


def test_train_many_on_cluster(client, expected, data, tmp_path, monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(kit.training.loop, "poisson_loss", lambda *_: pytest.fail("trained here"))
    swept = kit.train_many(CONFIGS, data, build, tmp_path)
    assert logs(kit.train_many(CONFIGS, data, build, tmp_path)) == logs(swept)
    assert files(swept) == files(expected)
    assert logs(swept) == logs(expected)
    assert torch.get_num_threads() == before
    assert len(list(tmp_path.iterdir())) == 6


def test_train_many_lost_worker(client, expected, data, tmp_path):
    swept = kit.train_many(CONFIGS, data, Deadly(tmp_path), tmp_path / "runs")
    assert (tmp_path / "killed0").exists()
    assert len(list((tmp_path / "runs").iterdir())) == 6
    assert files(swept) == files(expected)
    assert logs(swept) == logs(expected)


def test_train_many_gives_up_run_that_ends_workers(cluster, client, expected, data, tmp_path):
    """The scheduler gives up the runs that waited on the lost workers too: they run again."""
    allowed = cluster.scheduler.allowed_failures
    cluster.scheduler.allowed_failures = 0
    try:
        with pytest.raises(RuntimeError, match=r"1 of 3 runs failed and 2 finished.*worker"):
            kit.train_many(CONFIGS, data, Deadly(tmp_path, 1, losses=9), tmp_path / "runs")
    finally:
        cluster.scheduler.allowed_failures = allowed
    swept = [(tmp_path / "runs" / expected.paths[i].name).read_bytes() for i in (0, 2)]
    assert swept == files(expected)[::2]
