"""An interrupted training continues to the same weights, and refuses every other checkpoint.

Killed processes, and several of them, are in test_distributed.py.
"""

import copy
import io
import os
from pathlib import Path

import pytest
import tiny
import torch
from trainer import build, interrupted_at, quick, same_weights

import kit
import kit.training.distributed
import kit.training.loop
from kit.machine import use_threads
from kit.training.resume import FORMAT, read_state

PLATEAUS = {"epochs": 30, "one_cycle": False, "patience": 2, "lr_drops": 2}


@pytest.mark.parametrize(
    "changes", [{"epochs": 6}, PLATEAUS, {"epochs": 6, "precision": "bf16-mixed"}], ids=str
)
def test_train_resumes_to_same_weights(small, tmp_path, changes, monkeypatch):
    monkeypatch.setattr(kit.training.distributed, "has_fast_bfloat16", lambda: True)
    config, path = quick(**changes), tmp_path / "new" / "run"
    whole, broken, again = build(small), build(small), build(small)
    log = kit.train(whole, small, config)
    with interrupted_at(4):
        first = kit.train(broken, small, config, path)
    assert first.stopped == "interrupted"
    assert len(first.loss) == 3
    second = kit.train(again, small, config, checkpoint=path)
    assert same_weights(whole, again)
    assert not again.training
    assert second.seconds[:3] == first.seconds
    assert vars(second) | {"seconds": None} == vars(log) | {"seconds": None}
    assert list(tmp_path.rglob("*")) == [path.parent, path]


def test_train_resumes_with_the_same_number_of_threads(small, tmp_path, monkeypatch):
    """Another number would change the last digits, and after some epochs more."""
    used = []

    def train(epochs, fastest, path=None):
        monkeypatch.setattr(kit.training.loop, "choose_threads", lambda: (fastest, 4.0))
        kit.train(build(small), small, quick(epochs=epochs), path,
                  callback=lambda history: used.append(torch.get_num_threads()))  # fmt: skip
        assert torch.get_num_threads() == 3

    with use_threads(3):
        with interrupted_at(4):
            train(6, 2, tmp_path / "run")
        train(6, 1, tmp_path / "run")
        assert set(used) == {2}
        train(1, 1)
        assert used[-1] == 1


def test_train_chooses_threads_again_after_slow_epochs(small, monkeypatch):
    """Other programs may have started since; the choice costs too much after every epoch."""
    moments = iter([0, 6, 6, 12, 12, 30, 30, 36, 36, 42])  # start and end of each epoch
    choices = []
    monkeypatch.setattr(kit.training.loop, "perf_counter", lambda: next(moments))
    monkeypatch.setattr(kit.training.loop, "choose_threads", lambda: choices.append(1) or (1, 1.0))
    calls = []
    kit.train(build(small), small, quick(epochs=5), callback=lambda log: calls.append(len(choices)))
    assert [calls[i] for i in range(0, len(calls), len(calls) // 5)] == [1, 2, 2, 3, 3]


def test_train_reads_finished_checkpoint(small, tmp_path, monkeypatch):
    plain, saved, again = build(small), build(small), build(small)
    log = kit.train(plain, small, quick())
    same = kit.train(saved, small, quick(), tmp_path / "run")
    assert same_weights(plain, saved)
    assert same.correlation == log.correlation
    before = (tmp_path / "run").stat().st_mtime_ns
    monkeypatch.setattr(kit.training.loop, "poisson_loss", lambda *_: pytest.fail("trained again"))
    assert kit.train(again, small, quick(), tmp_path / "run") == same
    assert same_weights(plain, again)
    assert (tmp_path / "run").stat().st_mtime_ns == before
    assert kit.score(again, small, "validation").single_trial == max(log.correlation)


@pytest.fixture(scope="module")
def finished(small, folder):
    path = folder / "finished"
    kit.train(build(small), small, quick(epochs=1), path)
    return path


@pytest.mark.parametrize(
    "changes", [{"epochs": 2}, {"lr": 0.01}, {"batch_size": 8}, {"seed": 1}, {"patience": 3}],
    ids=str,
)  # fmt: skip
def test_read_refuses_other_settings(small, finished, changes):
    ((name, value),) = changes.items()
    then = getattr(quick(epochs=1), name)
    model = build(small)
    before = copy.deepcopy(model)
    with pytest.raises(ValueError, match=f"with {name}={then}, this one has {name}={value}; train"):
        kit.train(model, small, quick(**{"epochs": 1} | changes), finished)
    assert same_weights(model, before)


def test_read_refuses_other_model_or_mouse(small, data, finished, folder):
    changed = kit.load(tiny.write(folder, tiny.arrays(4), "8-1-1"), (18, 32), folder / "changed")
    cnn = kit.cnn_baseline(small, 4, kit.ModelConfig(image_size=(18, 32)))
    own = kit.Model(torch.nn.Conv2d(1, 4, 9), small.neurons, build(small).config)
    for model, mice, said in (
        (build(data), data, "mice=8-1-1, this one has mice=7-1-1"),
        (build(changed), changed, "neurons of 8-1-1=24 "),
        (build(small, channels=5), small, "core=ConvCore .*'channels': 4.* has core=.* 5"),
        (build(small, seed=1), small, "model=ModelConfig"),
        (cnn, small, "core=ConvCore"),
        (own, small, "core=ConvCore .* has core=Conv2d"),
    ):
        with pytest.raises(ValueError, match=f"{finished} is of a training with {said}"):
            kit.train(model, mice, quick(epochs=1), finished)


@pytest.fixture(scope="module")
def unfinished(small, folder):
    """Two of four epochs are done."""
    path = folder / "unfinished"
    with interrupted_at(3):
        kit.train(build(small), small, quick(epochs=4), path)
    return path


def refused(model, data, path, said):
    """Training is refused in one sentence, and neither model nor file changes."""
    before, content = copy.deepcopy(model), path.read_bytes()
    with pytest.raises(ValueError, match=said) as caught:
        kit.train(model, data, quick(epochs=4), path)
    assert "\n" not in str(caught.value)
    assert same_weights(model, before)
    assert model.data_statistics.keys() == before.data_statistics.keys()
    assert path.read_bytes() == content


def test_read_refuses_other_first_weights(small, unfinished, tmp_path):
    path = tmp_path / "run"
    path.write_bytes(unfinished.read_bytes())
    other = build(small)
    next(other.core.parameters()).data[0] *= 2
    trained = build(small)
    kit.train(trained, small, quick(epochs=1))
    for model in (other, trained):
        refused(
            model, small, path, f"{path} is of a training with first weights=.*; train as before"
        )
    frozen = build(small)
    frozen.core.requires_grad_(False)
    refused(frozen, small, path, "with frozen parameters=0, this one has frozen parameters=")
    log = kit.train(build(small), small, quick(epochs=4), path)
    assert log.stopped == "all 4 epochs done"
    assert kit.train(other, small, quick(epochs=4), path) == log  # finished: it is only read


@pytest.mark.parametrize("epoch", [1, 3])
def test_train_resumes_with_the_model_that_ctrl_c_left(small, tmp_path, epoch):
    model, whole = build(small), build(small)
    log = kit.train(whole, small, quick(epochs=4))
    for number in (epoch, 1):  # the second time in the epoch after those that are saved
        with interrupted_at(number):
            cut = kit.train(model, small, quick(epochs=4), tmp_path / "run")
        assert cut.stopped == "interrupted"
    again = kit.train(model, small, quick(epochs=4), tmp_path / "run")
    assert again.correlation == log.correlation and same_weights(model, whole)


def test_train_resumes_parameter_without_gradient(small, tmp_path):
    """A core may have parameters that it does not use: Adam has no state for them."""

    def unused():
        torch.manual_seed(1)
        model = build(small)
        model.core.register_parameter("unused", torch.nn.Parameter(torch.zeros(3)))
        return model

    with interrupted_at(2):
        kit.train(unused(), small, quick(), tmp_path / "run")
    assert len(kit.train(unused(), small, quick(), tmp_path / "run").loss) == 3


def saved_bytes(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def test_read_state_refuses_damaged_file(small, finished, tmp_path):
    content, path = finished.read_bytes(), tmp_path / "run"
    middle = len(content) // 2
    weights = max(read_state(finished)["model"].values(), key=torch.numel)
    place = content.index(weights.numpy().tobytes()) + 5  # between the arrays is padding
    flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    parts = read_state(finished)
    del parts["optimizer"]
    for damage in (
        content[:-30], content[:middle], flipped, saved_bytes({"weights": torch.zeros(3)}),
        saved_bytes(parts), b"", b"kit.train checkpoint 2\n" + content, b"PK\x03\x04 something",
    ):  # fmt: skip
        path.write_bytes(damage)
        with pytest.raises(ValueError, match=f"{path} is damaged, or is not a checkpoint"):
            kit.train(build(small), small, quick(epochs=1), path)
        assert path.read_bytes() == damage


class Harmful:
    def __reduce__(self):
        return pytest.fail, ("code in a checkpoint was run",)


def test_read_state_runs_no_code(small, tmp_path):
    torch.save({"format": FORMAT, "identity": Harmful()}, tmp_path / "run")
    with pytest.raises(ValueError, match="is damaged, or is not a checkpoint"):
        kit.train(build(small), small, quick(), tmp_path / "run")


@pytest.mark.parametrize("place", ["", "file/run", "missing/../file/run"])
def test_train_unwritable_path(small, tmp_path, monkeypatch, place):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(kit.training.loop, "poisson_loss", lambda *_: pytest.fail("trained"))
    with pytest.raises(OSError, match=r"cannot be (read|written)[^\n]*: [^\n]*; "):
        kit.train(build(small), small, quick(), tmp_path / place)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="tells no resident memory")
def test_train_memory_stays_flat(small, tmp_path, monkeypatch):
    sizes, validation = [], kit.training.loop.validation_correlation

    def measured(*arguments):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        sizes.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
        return validation(*arguments)

    monkeypatch.setattr(kit.training.loop, "validation_correlation", measured)
    kit.train(build(small), small, quick(epochs=200, patience=200), tmp_path / "run")
    assert len(sizes) == 200
    assert sizes[199] - sizes[19] < 30
