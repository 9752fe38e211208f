"""Training in several processes, or after one was killed, gives the same as in one."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
import trainer
from trainer import SCRIPT, same_state
from waiting import LIMIT

import kit

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
several = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
    reason="this torch has no gloo: processes cannot communicate",
)


def start(*arguments, processes=1):
    """Run Python, or several under torchrun, and wait for the end."""
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *several * (processes > 1), *map(str, arguments)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    quiet = "ignore::FutureWarning,ignore::DeprecationWarning"  # of libraries about one another
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    environment["PYTHONWARNINGS"] = quiet
    return subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT, check=False, env=environment
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    trainer.write(folder)
    return folder


@pytest.fixture(scope="module")
def one(folder):
    """The results of one process, with one thread as all the others here."""
    done = start(SCRIPT, folder, "all")
    assert done.returncode == 0, done.stderr
    return lambda out: trainer.outcome(folder, out)


@pytest.fixture(scope="module")
def two(folder, one):
    """The results of each of two processes."""
    done = start(SCRIPT, folder, "all", processes=2)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return lambda out: [trainer.outcome(folder, out, rank, 2) for rank in (0, 1)]


def same(outcome_a, outcome_b):
    """Whether weights and history are equal, except for the seconds."""
    history_a, history_b = [log["history"] | {"seconds": 0} for log in (outcome_a, outcome_b)]
    return history_a == history_b and same_state(outcome_a["weights"], outcome_b["weights"])


def test_leave_processes_ends_the_threads(two):
    """A thread that still holds tensors when Python ends may abort the process."""
    assert two("threads") == [{"gloo": 0}, {"gloo": 0}]


@several
@pytest.mark.parametrize("mice", [1, 2])
def test_backward_two_processes_same_gradients(one, two, mice):
    expected = one(f"gradients-{mice}")
    assert len(expected) == 4 * mice
    for gradients in two(f"gradients-{mice}"):
        for batch, values in expected.items():
            assert values.keys() == gradients[batch].keys()
            for name, value in values.items():
                error = (gradients[batch][name] - value).abs().max()
                assert error <= 1e-5 * max(1, value.abs().max()), (batch, name)


@several
def test_train_two_processes_same_weights(two):
    """One has no image of a batch of one, and seven or six of a batch of thirteen."""
    assert same(*two("small"))
    assert same(*two("learned"))
    assert len(two("small")[0]["history"]["loss"]) == 6


@several
def test_train_two_processes_learn_as_one(one, two):
    alone, first = one("learned")["history"], two("learned")[0]["history"]
    assert max(alone["correlation"]) > 0.7
    assert max(first["correlation"]) == pytest.approx(max(alone["correlation"]), abs=0.02)
    assert alone["loss"] != first["loss"]  # each draws its own readout positions


def test_train_resumes_killed_training(folder, one):
    checkpoint = folder / "one.checkpoint"
    killed = start(SCRIPT, folder, "train", "killed", checkpoint, 15)  # 4 + 1 - 1 steps an epoch
    assert killed.returncode == -signal.SIGKILL
    assert checkpoint.exists()
    again = start(SCRIPT, folder, "train", "resumed", checkpoint, 15)  # fewer than 15 are left
    assert again.returncode == 0, again.stderr
    resumed = trainer.outcome(folder, "resumed")
    assert same(resumed, one("small"))
    assert len(resumed["history"]["seconds"]) == 6


@several
def test_train_resumes_killed_torchrun(folder, two):
    checkpoint = folder / "two.checkpoint"
    assert start(SCRIPT, folder, "train", "k", checkpoint, 15, processes=2).returncode
    with pytest.raises(ValueError, match="with processes=2, this one has processes=1; train"):
        trainer.train(folder, "refused", checkpoint)
    again = start(SCRIPT, folder, "train", "resumed", checkpoint, processes=2)
    assert again.returncode == 0, again.stderr
    assert "Warning" not in again.stderr
    resumed = [trainer.outcome(folder, "resumed", rank, 2) for rank in (0, 1)]
    assert same(*resumed)
    assert same(resumed[0], two("small")[0])
    trainer.train(folder, "read", checkpoint)  # a finished one can be read in one process
    assert same(trainer.outcome(folder, "read"), resumed[0])


@several
@pytest.mark.parametrize("model, core", [("cnn", "ConvCore"), ("strong", "NormalizationCore")])
def test_shell_command_under_torchrun(folder, model, core):
    zipped, out = folder / "static8-1-1-GrayImageNet-tiny.zip", folder / model
    settings = ["--model", model, "--channels", 2, "--epochs", 2, "--device", "cpu"]
    settings += ["--checkpoint", folder / f"{model}.checkpoint"]
    done = start("-m", "kit", "train", zipped, out, *settings, processes=2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"saved to {out}") == 1
    assert done.stdout.count("2 epochs in") == 1
    assert type(kit.load_model(out).core).__name__ == core


def test_reuse_freed_memory():
    """The process keeps freed memory within the block, and returns it to the system at the end."""
    process = textwrap.dedent("""
        import numpy as np
        from pathlib import Path
        from kit.machine import reuse_freed_memory
        def resident():
            return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
        before = resident()
        with reuse_freed_memory():
            array = np.ones(20_000_000)  # 160 MB
            del array
            within = resident()
        print(within - before > 100, resident() - before < 50)
    """)
    if not sys.platform.startswith("linux"):
        pytest.skip("only on Linux")
    done = subprocess.run([sys.executable, "-c", process], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True"], done.stderr
