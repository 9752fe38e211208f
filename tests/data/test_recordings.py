"""Batches, recordings and datasets, and the packed copies that they open."""

import dataclasses
import errno
import os
from unittest import mock

import numpy as np
import pytest
import tiny
import torch
from recording_files import TRIALS, encrypted
from tiny import npy

import kit


def trials_of(mouse, batch):
    """Which trials of the recording a batch holds, found by their eye positions."""
    return [
        int(np.flatnonzero((mouse.pupil_center == eye).all(1))[0])
        for eye in batch.pupil_center.numpy()
    ]


def test_batches_cover_each_trial_once(mouse):
    sizes, trials = [], []
    for batch in mouse.batches("train", 16):
        sizes.append(len(batch.images))
        trials += trials_of(mouse, batch)
    assert sizes == [16, 16, 8]
    assert trials == mouse.rows("train").tolist()  # in the order of the recording


def test_batches_seed_fixes_order(mouse):
    def order(seed):
        return [t for batch in mouse.batches("train", 16, seed) for t in trials_of(mouse, batch)]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order((1, 0)) != order((1, 1))  # a seed and an epoch
    assert sorted(order(1)) == sorted(order(2)) == mouse.rows("train").tolist()
    assert order(1) != sorted(order(1))


def test_batches_size_changes_nothing_else(mouse):
    once = next(mouse.batches("validation", 100, seed=3))
    many = list(mouse.batches("validation", 5, seed=3))
    for whole, parts in zip(once, zip(*many, strict=True), strict=True):
        torch.testing.assert_close(whole, torch.cat(parts), rtol=0, atol=0)


def test_first_copies_rows(mouse):
    batch = mouse.first("train", 3)
    rows = mouse.rows("train")[:3]
    for name in ("images", "responses", "behavior", "pupil_center"):
        value = getattr(batch, name)
        assert value.dtype == torch.float32
        np.testing.assert_array_equal(value, getattr(mouse, name)[rows])
    assert len(mouse.first("validation", 1000).images) == 12
    batch.images[:] = 0  # a copy: the recording stays as it is
    assert mouse.images[rows].any()


def test_rows_unknown_tier_and_batches_of_size_0(mouse):
    with pytest.raises(ValueError, match="size=0 is not possible"):
        mouse.batches("train", 0)
    for tier in ("live", ["train", "validation"]):
        with pytest.raises(ValueError, match=r"no tier .*; its tiers are train, valid.*final"):
            mouse.rows(tier)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    paths = [
        tiny.write(folder, tiny.arrays(seed=s, neurons=n), m)
        for s, n, m in ((1, 24, "8-1-1"), (2, 10, "9-1-1"))
    ]
    return kit.load(paths, folder=folder / "data")


def test_dataset_of_two_mice(two):
    assert list(two) == ["8-1-1", "9-1-1"]
    assert len(two) == 2
    assert two["9-1-1"].mouse == "9-1-1"
    assert {m: c.shape for m, c in two.neurons.items()} == {"8-1-1": (24, 3), "9-1-1": (10, 3)}
    assert tuple(two.image_size) == (36, 64)
    assert "8-1-1" in two
    assert "mouse 8-1-1: 24 neurons" in repr(two)
    assert "mouse 9-1-1: 10 neurons" in repr(two)
    with pytest.raises(ValueError, match=r"there are 2 mice here; choose one of 8-1-1, 9-1-1"):
        _ = two.mouse
    with pytest.raises(KeyError, match=r"no mouse '1-2-3' here; the mice are 8-1-1, 9-1-1"):
        two["1-2-3"]


@pytest.mark.parametrize("count", [0, 2])
def test_dataset_needs_different_mice(two, count):
    with pytest.raises(ValueError, match="are no Dataset; give one or more, each once"):
        kit.Dataset([two["8-1-1"]] * count)


def test_recording_leaves_the_callers_arrays_writable(two):
    responses = two["8-1-1"].responses.copy()
    copy = dataclasses.replace(two["8-1-1"], responses=responses)
    responses[0] = 0
    assert not copy.responses.flags.writeable


def test_recording_is_read_only(two):
    mouse = two["8-1-1"]
    with pytest.raises(TypeError):
        two["8-1-1"] = mouse
    with pytest.raises(dataclasses.FrozenInstanceError):
        mouse.responses = np.zeros((70, 24))
    for field in [each for each in dataclasses.fields(mouse) if each.init]:
        value = getattr(mouse, field.name)
        if isinstance(value, np.ndarray):
            assert not value.flags.writeable
            with pytest.raises(ValueError):
                value[:1] = value[:1]


PACKED = {
    "an array where an archive should be": ("meta.npz", lambda _: npy(np.ones(3))),
    "a broken header": ("images.npy", lambda data: data[:10] + b"(" * 60 + data[70:]),
    "another shape": ("images.npy", lambda _: npy(np.ones((3, 1, 36, 64), np.float32))),
    "no numbers": ("behavior.npy", lambda _: npy(np.full((TRIALS, 3), "x"))),
    "gone": ("pupil_center.npy", None),
    "an encrypted archive": ("meta.npz", encrypted),
}


@pytest.mark.parametrize("damage", PACKED)
def test_open_packed_damaged(source, tmp_path, damage):
    kit.load(source, folder=tmp_path)
    (packed,) = (tmp_path / "packed").iterdir()
    name, change = PACKED[damage]
    content = (packed / name).read_bytes()
    (packed / name).unlink()
    if change:
        (packed / name).write_bytes(change(content))
    with pytest.raises(ValueError, match="is damaged; delete that folder and load again"):
        kit.load(source, folder=tmp_path)


def test_open_packed_says_what_the_system_says(source, tmp_path, monkeypatch):
    kit.load(source, folder=tmp_path)
    problem = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    monkeypatch.setattr(np, "load", mock.Mock(side_effect=problem))
    said = f"packed copy .* cannot be read: {os.strerror(errno.EMFILE).lower()}"
    with pytest.raises(OSError, match=said):
        kit.load(source, folder=tmp_path)


# ---- recordings made by hand ----


@pytest.mark.parametrize("name", ["images", "responses", "pupil_center", "image_ids", "trial_ids"])
def test_recording_refuses_arrays_of_other_lengths(two, name):
    mouse = two["8-1-1"]
    with pytest.raises(ValueError, match=r"mouse 8-1-1 (must be numbers \(70|has 70 tiers; give)"):
        dataclasses.replace(mouse, **{name: getattr(mouse, name)[:-1]})


@pytest.mark.parametrize("name", ["responses", "coordinates", "unit_ids"])
def test_recording_refuses_other_neurons(two, name):
    with pytest.raises(ValueError, match=r"of mouse 8-1-1 must be numbers \(.*; give an array"):
        dataclasses.replace(two["8-1-1"], **{name: getattr(two["9-1-1"], name)})


def test_recording_repr_shows_no_control_characters(two):
    mouse = two["8-1-1"]
    tiers = np.where(mouse.tiers == "test", "\x1b[2J", mouse.tiers)
    text = repr(dataclasses.replace(mouse, mouse="\x1b[31m", tiers=tiers))
    assert text.isprintable() and "left out: 11 ?[2J" in text


# ---- units ----

Z_SCORED = np.random.default_rng(0).standard_normal((3, 1, 18, 32))
NOT_Z_SCORED = {
    "0 to 255, dark": (
        np.abs(12 * Z_SCORED),
        "are not z-scored; for pixels from 0 to 255 .* these run",
    ),
    "-128 to 127": (60 * Z_SCORED, "are not z-scored"),
    "integers": (np.full((3, 18, 32), 2), "images of torch.int64 are not z-scored"),
    "NaN": (np.where(Z_SCORED > 2, np.nan, Z_SCORED), "images has values that are not finite"),
}


@pytest.mark.parametrize("images", NOT_Z_SCORED)
def test_batch_typical_refuses_images_that_are_not_z_scored(images):
    pixels, message = NOT_Z_SCORED[images]
    for values in (pixels, torch.from_numpy(pixels)):
        with pytest.raises(ValueError, match=message):
            kit.Batch.typical(values)


def test_batch_typical_takes_extreme_z_scored_images():
    dot = np.full((1, 36, 64), -1 / 48)
    dot[0, 18, 32] = 48  # one white pixel, the rest black
    dots = torch.from_numpy(dot).requires_grad_()
    for images in (Z_SCORED, dot, dots, np.full((2, 36, 64), 2.2), np.zeros((0, 36, 64))):
        assert len(kit.Batch.typical(images).images) == len(images)


@pytest.mark.parametrize("rows", ["train", 1.5, 1000, [True], [[0, 1], [2, 3]], None, {}])
def test_batch_refuses_what_are_no_trials(plus, rows):
    with pytest.raises((IndexError, ValueError), match=r"indices|indexed|out of bounds|give such"):
        plus.mouse.batch(rows)


@pytest.mark.parametrize("images", [None, "picture.png"])
def test_typical_refuses_what_are_no_numbers(images):
    with pytest.raises(ValueError, match="are not numbers; give an array"):
        kit.Batch.typical(images)


def test_with_train_leaves_other_trials_as_they_are(mouse):
    chosen = mouse.rows("train")[[4, 9, 2]]
    part = mouse.with_train(chosen)
    assert part.rows("train").tolist() == sorted(chosen.tolist())
    assert part.rows("validation").tolist() == mouse.rows("validation").tolist()
    assert (part.tiers == "unused").sum() == len(mouse.rows("train")) - 3
    assert part.packed == mouse.packed  # its arrays still lie in that folder


def test_with_neurons_takes_all_that_belongs_to_a_neuron(mouse):
    chosen = np.array([5, 0, 3])
    part = mouse.with_neurons(chosen)
    for name in ("unit_ids", "coordinates"):
        assert np.array_equal(getattr(part, name), getattr(mouse, name)[chosen])
    assert np.array_equal(part.responses, mouse.responses[:, chosen], equal_nan=True)
    assert np.array_equal(
        part.statistics["responses_std"], mouse.statistics["responses_std"][chosen]
    )
    assert part.statistics["images_std"] == mouse.statistics["images_std"]
    assert part.packed is None  # the packed arrays are those of all neurons
