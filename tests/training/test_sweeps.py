"""Ensembles, and sweeps: here, on a Dask cluster, after a kill; always the same, bit for bit."""

import dataclasses
import itertools
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
import tiny
import torch

import kit
import kit.training.loop
import kit.training.sweeps

ROOT = Path(__file__).resolve().parents[2]
SIZE = (18, 32)
build = partial(kit.linear_baseline, channels=2)


def quick(**changes):
    return kit.TrainConfig(**{"epochs": 2, "batch_size": 16, "device": "cpu"} | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sweeps")


@pytest.fixture(scope="module")
def data(folder):
    return kit.load(tiny.write(folder), SIZE, folder / "data")


@pytest.fixture(scope="module")
def other(folder):
    """A mouse of ten neurons."""
    path = tiny.write(folder, tiny.arrays(3, neurons=10), "8-1-1")
    return kit.load(path, SIZE, folder / "data")


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


# ---- ensembles ----


def test_an_ensemble_predicts_the_mean_of_its_members(runs, data):
    one, two, _ = (kit.predict(model, data, "test") for model in runs)
    mean = kit.predict(kit.ensemble(runs[:2]), data, "test")
    np.testing.assert_array_equal(mean, (one + two) / 2)
    assert not np.array_equal(one, two)
    assert mean.dtype == np.float32


def test_a_mean_of_one_is_that_one(runs, data):
    np.testing.assert_array_equal(
        kit.predict(kit.ensemble([runs[1]]), data, "test"), kit.predict(runs[1], data, "test")
    )


def test_the_order_of_members_does_not_matter(runs, data):
    first, *others = (
        kit.predict(kit.ensemble(members), data, "test") for members in itertools.permutations(runs)
    )
    assert all(np.array_equal(first, other) for other in others)


def test_an_ensemble_scores_and_submits_like_a_model(runs, data, tmp_path):
    ensemble, rows = kit.ensemble(runs), data.mouse.rows("test")
    expected = kit.metrics.correlation(
        kit.predict(ensemble, data, "test"), data.mouse.responses[rows]
    )
    score = kit.score(ensemble, data, "test")
    assert score.single_trial == pytest.approx(expected.mean())
    assert score.feve is not None
    kit.submit(ensemble, data, tmp_path / "submission")
    assert kit.check(tmp_path / "submission", data)
    assert ensemble(data.mouse.first("test", 2)).shape == (2, 24)  # the only mouse


def test_an_ensemble_pools_mice_as_a_model_does(data, other):
    both = kit.Dataset([data.mouse, other.mouse])
    models = [build(both, config=kit.ModelConfig.of(both, seed=seed)).eval() for seed in (1, 2)]
    ensemble = kit.ensemble(models)
    assert len(kit.score(ensemble, both, "validation").per_neuron["single_trial"]) == 34
    assert kit.predict(ensemble, both, "test", "8-1-1").shape == (11, 10)
    assert kit.score(kit.ensemble(models[:1]), both, "validation").single_trial == (
        kit.score(models[0], both, "validation").single_trial
    )


def test_an_ensemble_says_what_it_is(runs, data):
    cnn = kit.cnn_baseline(data, channels=2)
    said = repr(kit.ensemble([*runs, cnn])).splitlines()
    assert said[0] == "the mean of 4 models"
    assert said[1].startswith("3 models: linear-nonlinear (LN) model of 3 convolutional layers")
    assert sum(line.startswith("1 model: CNN of 4 conv") for line in said) == 1


def test_an_ensemble_leaves_its_members_as_they_are(runs, data):
    runs[0].train()
    kit.predict(kit.ensemble(runs), data, "test")
    assert runs[0].training
    assert not runs[1].training
    runs[0].eval()


def test_members_that_do_not_go_together_are_refused(runs, data, other, folder):
    def refused(members, said):
        with pytest.raises(ValueError, match=said) as caught:
            kit.ensemble(members)
        assert "\n" not in str(caught.value)

    refused([], "an ensemble of no models predicts nothing; give one or more")
    refused([runs[0], "model"], "made of models, not of str; give a list")
    refused(runs[0], "needs a list of models, not one Model; give")
    refused([kit.ensemble(runs)], "not of Ensemble")
    refused([runs[0], build(other)], r"neurons 7-1-1 \(24\), another 8-1-1 \(10\)")
    fewer = kit.Model(runs[0].core, {"7-1-1": np.zeros((23, 2))}, runs[0].config)
    refused([runs[0], fewer], r"neurons 7-1-1 \(24\), another 7-1-1 \(23\)")
    large = kit.load(folder / "static7-1-1-GrayImageNet-tiny.zip", (24, 40), folder / "data")
    refused([runs[0], build(large)], r"images of \(18, 32\), another \(24, 40\)")
    stranger = build(data)
    turned = dataclasses.replace(data.mouse, unit_ids=data.mouse.unit_ids[::-1].copy())
    stranger.register_data(kit.Dataset([turned]))
    refused([runs[0], stranger], "trained with other unit_ids of mouse 7-1-1; train both")


def test_an_ensemble_is_checked_against_the_recording(runs, data, other):
    ensemble = kit.ensemble(runs)
    with pytest.raises(ValueError, match="no readout for mouse '8-1-1'"):
        kit.predict(ensemble, other, "test")
    changed = dataclasses.replace(data.mouse, unit_ids=data.mouse.unit_ids[::-1].copy())
    with pytest.raises(ValueError, match="trained with unit_ids"):
        kit.score(ensemble, kit.Dataset([changed]), "validation")


def test_an_ensemble_is_neither_trained_nor_saved_as_one(runs, data, tmp_path):
    ensemble = kit.ensemble(runs)
    with pytest.raises(ValueError, match="a Model is needed to train, not Ensemble; "):
        kit.train(ensemble, data)
    with pytest.raises(ValueError, match="a file holds one Model, not Ensemble; "):
        kit.save(ensemble, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- sweeps in this process ----


def test_a_sweep_trains_what_kit_train_does(runs, data):
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


def test_what_lies_on_disk(runs, data, folder):
    assert len(list((folder / "runs").iterdir())) == 6
    for path, model, history in zip(runs.paths, runs, runs.histories, strict=True):
        read = kit.load_model(path)
        np.testing.assert_array_equal(
            kit.predict(read, data, "test"), kit.predict(model, data, "test")
        )
        record = json.loads(path.with_suffix(".json").read_text())
        assert kit.History(**record["history"]) == history
        assert record["training"]["epochs"] == "2"


def test_names_are_readable_and_tell_runs_apart(data, other, tmp_path):
    wide = kit.ModelConfig.of(data, shifter=False, seed=7)
    both = kit.Dataset([data.mouse, other.mouse])
    tasks = [
        *kit.training.sweeps._tasks(
            [quick(), quick(lr=0.003), (wide, quick())], data, build, tmp_path
        ),
        *kit.training.sweeps._tasks([quick()], data, partial(build, channels=3), tmp_path),
        *kit.training.sweeps._tasks([quick()], data, kit.cnn_baseline, tmp_path),
        *kit.training.sweeps._tasks([quick()], both, build, tmp_path),
    ]
    names = [task.name[:-9] for task in tasks]  # but for -, and eight figures
    assert names[:3] == [
        "7-1-1-epochs2-batch_size16-seed42",
        "7-1-1-epochs2-lr0.003-batch_size16-seed42",
        "7-1-1-epochs2-batch_size16-seed42-weights7",
    ]
    assert names[3] == names[4] == names[0]
    assert names[5].startswith("2-mice-")
    assert len({task.name for task in tasks}) == 6


def test_the_same_name_for_other_data_or_another_core_is_another_run(data, tmp_path):
    changed = dataclasses.replace(
        data.mouse, statistics={n: 2 * v for n, v in data.mouse.statistics.items()}
    )

    def dropping(p):
        def own(data, config):
            core = torch.nn.Sequential(torch.nn.Conv2d(4, 2, 9), torch.nn.Dropout(p))
            return kit.Model(core, data.neurons, config)

        return own

    names = [
        kit.training.sweeps._tasks([quick()], recordings, make, tmp_path)[0].name
        for recordings, make in (
            (data, build), (kit.Dataset([changed]), build), (data, dropping(0.1)),
            (data, dropping(0.2)),
        )
    ]  # fmt: skip
    assert len(set(names)) == 4


def test_alone_a_training_gets_the_tracks_baseline_with_its_seed(data, folder):
    path = tiny.write(folder, mouse="9-1-1", withholds=("behavior",))
    withheld = kit.load(path, SIZE, folder / "data")
    (task,) = kit.training.sweeps._tasks([quick(seed=5)], data, build, folder)
    assert task.config == kit.ModelConfig(True, True, SIZE, 5)
    (task,) = kit.training.sweeps._tasks([quick(seed=5)], withheld, build, folder)
    assert task.config == kit.ModelConfig(False, False, SIZE, 5)
    assert kit.cnn_baseline(data, 2).config == kit.ModelConfig.of(data)


def own(data, config):
    """A core of one's own that takes its first weights from wherever torch's seed stands."""
    core = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 9), torch.nn.BatchNorm2d(2))
    return kit.Model(core, data.neurons, config)


def test_a_core_of_ones_own_is_reproducible_too_and_chance_is_left_alone(data, tmp_path):
    config = kit.ModelConfig.of(data, behavior_channels=False, seed=3)
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        found.append(kit.train_many([(config, quick())], data, own, tmp_path / str(seed)))
        assert torch.equal(before, torch.get_rng_state())
    assert files(found[0]) == files(found[1])
    assert kit.predict(found[0][0], data, "test").shape == (11, 24)


def test_a_second_call_reads_what_is_finished(runs, data, folder, capsys, no_training):
    again = kit.train_many(CONFIGS[::-1], data, build, folder / "runs")
    assert again.histories == runs.histories[::-1]
    assert again.paths == runs.paths[::-1]
    assert "3 of 3 runs are finished already" in capsys.readouterr().out


def test_a_sweep_goes_on_with_what_is_missing(runs, data, tmp_path, capsys):
    for path in runs.paths[:2]:
        shutil.copy(path, tmp_path)
        shutil.copy(path.with_suffix(".json"), tmp_path)
    (tmp_path / runs.paths[1].name).unlink()  # a record without weights is no run
    again = kit.train_many(CONFIGS, data, build, tmp_path)
    assert "1 of 3 runs are finished" in capsys.readouterr().out
    assert files(again) == files(runs)


def test_progress_is_over_the_whole_sweep(runs, data, folder, tmp_path, monkeypatch):
    shutil.copytree(folder / "runs", tmp_path / "runs")
    runs.paths[2].with_suffix(".json").rename(tmp_path / "aside")
    bars, progress = [], kit.training.sweeps.progress

    def seen(**options):
        bar = progress(**options)
        bar.update = lambda: bars.append(options)
        return bar

    monkeypatch.setattr(kit.training.sweeps, "progress", seen)
    try:
        kit.train_many(CONFIGS, data, build, folder / "runs")
    finally:
        (tmp_path / "aside").replace(runs.paths[2].with_suffix(".json"))
    assert [(bar["total"], bar["initial"]) for bar in bars] == [(3, 2)]  # updated once


@pytest.mark.parametrize(
    "configs, said",
    [
        ([], r"\[\] are no configs; give a list, such as"),
        (quick(), "are no configs; give a list"),
        ([quick(), 3], r"configs\[1\] is 3; give a kit.TrainConfig, or a pair"),
        ([(quick(), kit.ModelConfig())], r"configs\[0\] is \(TrainConfig.*; give a kit.Tr"),
        ([quick(), quick(seed=1), quick()], r"configs\[0\] and configs\[2\] are the same training"),
        ([(kit.ModelConfig(image_size=(36, 64)), quick())], r"takes \(36, 64\) images, the data"),
        ([(kit.ModelConfig(image_size=(4, 4)), quick())], "core cannot take images"),
    ],
    ids=str,
)
def test_bad_configs_are_refused_before_any_work(data, tmp_path, no_training, configs, said):
    with pytest.raises(ValueError, match=said) as caught:
        kit.train_many(configs, data, build, tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_other_mistakes_are_refused_before_any_work(data, tmp_path, monkeypatch, no_training):
    with pytest.raises(ValueError, match="a Dataset is needed, not a str"):
        kit.train_many(CONFIGS, "sample", build, tmp_path)
    with pytest.raises(ValueError, match="build returned str, not a Model; it is called as"):
        kit.train_many(CONFIGS, data, lambda data, config: "model", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file cannot be a folder for runs: .*; name another"):
        kit.train_many(CONFIGS, data, build, tmp_path / "file")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with pytest.raises(ValueError, match="start it without torchrun"):
        kit.train_many(CONFIGS, data, build, tmp_path)


def test_a_run_that_fails_loses_no_other(runs, data, tmp_path):
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


def test_files_of_another_training_are_refused(runs, data, tmp_path):
    def read():
        return kit.train_many(CONFIGS[:1], data, build, tmp_path)

    (first, second), record = runs.paths[:2], runs.paths[0].with_suffix(".json").name
    weights = tmp_path / first.name
    shutil.copy(first, weights)
    shutil.copy(first.with_suffix(".json"), tmp_path / record)
    read()
    shutil.copy(second, weights)
    with pytest.raises(ValueError, match="are not of this run; delete both"):
        read()
    shutil.copy(second.with_suffix(".json"), tmp_path / record)
    with pytest.raises(ValueError, match="are not of this run; delete both"):
        read()
    for damage in ("", "{", "[]", "{}", '{"weights": 1, "training": 2, "history": {"a": 1}}'):
        (tmp_path / record).write_text(damage)
        with pytest.raises(ValueError, match="not what a finished run leaves; delete it"):
            read()
    (tmp_path / record).unlink()
    (tmp_path / record).with_suffix(".checkpoint").write_text("something else")
    with pytest.raises(RuntimeError, match=r"not a checkpoint that kit.train wrote"):
        read()


def test_an_interruption_ends_the_sweep_and_it_goes_on(runs, data, tmp_path, monkeypatch):
    score, calls = kit.training.loop.score, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 4:  # in the second epoch of the second run
            raise KeyboardInterrupt
        return score(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(kit.training.loop, "score", interrupted)
        with pytest.raises(KeyboardInterrupt):
            kit.train_many(CONFIGS, data, build, tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [
        ".checkpoint", ".json", ".safetensors",
    ]  # fmt: skip
    again = kit.train_many(CONFIGS, data, build, tmp_path)
    assert files(again) == files(runs)
    assert len(list(tmp_path.iterdir())) == 6


def test_a_killed_sweep_goes_on_as_if_nothing_had_been(runs, data, folder, tmp_path, capsys):
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
    assert left == [".checkpoint", ".json", ".safetensors", ".tries"]
    again = kit.train_many(CONFIGS, data, build, tmp_path)
    assert "1 of 3 runs are finished" in capsys.readouterr().out
    assert files(again) == files(runs)
    assert logs(again) == logs(runs)
    assert len(list(tmp_path.iterdir())) == 6


def test_threads_of_one_process_take_turns(runs, data, tmp_path):
    with joblib.parallel_config("threading", n_jobs=2):
        found = kit.train_many(CONFIGS, data, build, tmp_path)
    assert files(found) == files(runs)


def test_a_worker_trains_with_the_threads_it_was_given(monkeypatch):
    state, before = SimpleNamespace(nthreads=3), torch.get_num_threads()
    worker = SimpleNamespace(get_worker=lambda: SimpleNamespace(state=state))
    monkeypatch.setitem(sys.modules, "distributed", worker)
    with kit.training.sweeps._threads():
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == before


def test_a_folder_that_a_host_does_not_see_is_told(data, tmp_path):
    (task,) = kit.training.sweeps._tasks([quick()], data, build, tmp_path / "runs")
    with pytest.raises(FileNotFoundError, match="; name a folder that every host sees"):
        task.load()
    (tmp_path / "runs").rmdir()
    name, problem = task.outcome()
    assert name == task.name
    assert isinstance(problem, FileNotFoundError)
    assert f"{tmp_path / 'runs'} is not on host" in str(problem)


# ---- recordings travel ----


def test_a_recording_travels_by_its_place(data, other):
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


def test_a_changed_copy_travels_whole(data):
    changed = dataclasses.replace(data.mouse, responses=1 - data.mouse.responses)
    read = pickle.loads(pickle.dumps(changed))
    np.testing.assert_array_equal(read.responses, 1 - data.mouse.responses)
    np.testing.assert_array_equal(read.images, data.mouse.images)
    assert not read.images.flags.writeable


def test_a_recording_that_is_not_there_is_told_in_a_sentence(folder, tmp_path):
    data = kit.load(folder / "static7-1-1-GrayImageNet-tiny.zip", SIZE, tmp_path / "other")
    sent = pickle.dumps(data)
    shutil.rmtree(tmp_path / "other")
    with pytest.raises(FileNotFoundError, match=r"7-1-1 is not at .* on host .*; put") as caught:
        pickle.loads(sent)
    assert "\n" not in str(caught.value)


# ---- on a cluster ----


@pytest.fixture(scope="module")
def cluster():
    """A scheduler, two workers in processes of their own, and a client."""
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1", "processes": True}
    with (
        distributed.LocalCluster(**options, dashboard_address=":0") as cluster,
        distributed.Client(cluster),
    ):
        yield cluster


class Deadly:
    """Builds a model that kills its worker at its sixth batch, in the second epoch, once.

    losses: how many it then seems to have lost.
    """

    def __init__(self, folder, losses=1):
        self.folder, self.losses = folder, losses

    def __call__(self, data, config):
        model, batches = build(data, config=config), []

        def count(*_):
            batches.append(1)
            if len(batches) == 6 and not (self.folder / "killed").exists():
                (self.folder / "killed").touch()
                (tries,) = self.folder.glob("runs/.*seed1*.tries")
                tries.write_text("x" * self.losses)
                os.kill(os.getpid(), signal.SIGKILL)

        if multiprocessing.parent_process() is not None and config.seed == 1:
            model.register_forward_hook(count)
        return model


@pytest.fixture(scope="module")
def expected(data, folder):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    runs = kit.train_many(CONFIGS, data, build, folder / "one-thread")
    torch.set_num_threads(before)
    return runs


def test_a_cluster_finds_the_same_bit_for_bit(cluster, expected, data, tmp_path):
    before = torch.get_num_threads()
    with joblib.parallel_config("dask"):
        found = kit.train_many(CONFIGS, data, build, tmp_path)
        assert logs(kit.train_many(CONFIGS, data, build, tmp_path)) == logs(found)
    assert files(found) == files(expected)
    assert logs(found) == logs(expected)
    assert torch.get_num_threads() == before
    assert len(list(tmp_path.iterdir())) == 6


def test_a_lost_worker_loses_nothing(cluster, expected, data, tmp_path):
    with joblib.parallel_config("dask"):
        found = kit.train_many(CONFIGS, data, Deadly(tmp_path), tmp_path / "runs")
    assert (tmp_path / "killed").exists()
    assert len(list((tmp_path / "runs").iterdir())) == 6
    assert files(found) == files(expected)
    assert logs(found) == logs(expected)


def test_a_run_that_ends_every_worker_is_given_up_and_told(cluster, expected, data, tmp_path):
    deadly, allowed = Deadly(tmp_path, losses=3), cluster.scheduler.allowed_failures
    cluster.scheduler.allowed_failures = 0  # at once it gives up both, the one that waited too
    try:
        with (
            joblib.parallel_config("dask"),
            pytest.raises(
                RuntimeError, match=r"1 of 2 runs failed and 1 finished.*worker was lost 3 times"
            ),
        ):
            kit.train_many(CONFIGS[1:], data, deadly, tmp_path / "runs")
    finally:
        cluster.scheduler.allowed_failures = allowed
    assert (tmp_path / "runs" / expected.paths[2].name).read_bytes() == files(expected)[2]
