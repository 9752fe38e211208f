"""Standardised arrays: their values, their statistics, and what is withheld."""

import errno
import os
import shutil
import zipfile

import numpy as np
import pytest
import tiny
import torch
from recording_files import TOP, assert_same, refused, unpack
from torch.nn.functional import interpolate

import kit


def test_pack_divides_responses_by_floored_std(mouse, arrays):
    seen = np.isin(arrays["tiers"], ["train", "validation"])
    std = arrays["responses"][seen].astype(float).std(0)
    assert std[4] < 0.01 * std.mean()
    std[4] = 0.01 * std.mean()
    np.testing.assert_allclose(mouse.responses, arrays["responses"] / std, rtol=1e-5)
    assert mouse.responses[seen].std(0)[5] == pytest.approx(1, abs=1e-5)
    assert (mouse.responses >= 0).all()  # divided, never centred


def test_pack_behavior_and_pupil_center(mouse, arrays):
    seen = np.isin(arrays["tiers"], ["train", "validation"])
    behavior, eye = arrays["behavior"], arrays["pupil_center"]
    np.testing.assert_allclose(mouse.behavior, behavior / behavior[seen].std(0), rtol=1e-5)
    expected = (eye - eye[seen].mean(0)) / eye[seen].std(0)
    np.testing.assert_allclose(mouse.pupil_center, expected, atol=1e-4)


def test_pack_images_z_scored_and_scaled(mouse, arrays):
    seen = np.isin(arrays["tiers"], ["train", "validation"])
    images = arrays["images"].astype(float)
    images = (images - images[seen].mean()) / images[seen].std()
    expected = interpolate(
        torch.from_numpy(images), scale_factor=0.25, mode="bilinear", align_corners=False
    )
    assert mouse.images.shape == (70, 1, 36, 64)
    np.testing.assert_allclose(mouse.images, expected.numpy(), atol=1e-5)
    # a quarter of the size samples between the two middle pixels of each 4 x 4 block
    by_hand = images[0, 0, 1:3, 5:7].mean()
    assert mouse.images[0, 0, 0, 1] == pytest.approx(by_hand, abs=1e-5)


def test_pack_keeps_statistics_and_ids(mouse, arrays):
    seen = np.isin(arrays["tiers"], ["train", "validation"])
    kinds = kit.data.official.KINDS
    assert set(mouse.statistics) == {f"{kind}_{name}" for kind in kinds for name in ("mean", "std")}
    assert mouse.statistics["images_mean"] == pytest.approx(arrays["images"][seen].mean(), rel=1e-6)
    assert mouse.statistics["responses_mean"].tolist() == [0] * 24
    raw = mouse.responses * mouse.statistics["responses_std"]
    np.testing.assert_allclose(raw, arrays["responses"], rtol=1e-5)
    for name, file in kit.data.official.META.items():
        np.testing.assert_array_equal(getattr(mouse, name), arrays[file.rpartition("/")[2]])


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_pack_images_of_any_dtype(source, mouse, arrays, tmp_path, dtype):
    changes = {
        f"data/images/{i}.npy": tiny.npy(image.astype(dtype))
        for i, image in enumerate(arrays["images"])
    }
    copy = tiny.rewritten(source, tmp_path / source.name, changes=changes)
    assert_same(kit.load(copy, folder=tmp_path / "data").mouse, mouse)


def test_pack_withheld_responses_and_behavior(tmp_path):
    path = tiny.write(tmp_path, withholds=("responses", "behavior"))
    mouse = kit.load(path, folder=tmp_path / "data").mouse
    assert mouse.behavior is None and mouse.pupil_center is None
    batch = mouse.first("test", 2)
    assert batch.behavior is None and batch.pupil_center is None
    assert batch.to("cpu").behavior is None
    withheld = [mouse.withheld(tier) for tier in kit.data.official.TIERS]
    assert withheld == [False, False, True, True]
    assert batch.responses is None and mouse.first("train", 2).responses.isfinite().all()
    assert np.isnan(mouse.responses[mouse.rows("test")]).all()
    assert mouse.batch([mouse.rows("train")[0], mouse.rows("test")[0]]).responses is None
    names = {"images_mean", "images_std", "responses_mean", "responses_std"}
    assert set(mouse.statistics) == names
    assert "24 neurons, 40 train, 12 validation, 11 test, 7 final_test" in repr(mouse)
    assert "without behaviour" in repr(mouse)


@pytest.mark.parametrize("absent", [["behavior", "pupil_center"], ["behavior"], ["pupil_center"]])
def test_pack_without_behavior_or_eye_position(source, tmp_path, absent):
    """As other labs export theirs: no folder, and no statistics of what is not there."""
    folder = unpack(source, tmp_path).rename(tmp_path / "nat30k_lab_2024_01_02")
    for kind in absent:
        shutil.rmtree(folder / "data" / kind)
        shutil.rmtree(folder / "meta" / "statistics" / kind)
    takes = "behavior" not in absent, "pupil_center" not in absent
    data = kit.load(folder, size=(18, 32), folder=tmp_path / "data")
    mouse = data.mouse
    assert mouse.mouse == folder.name and mouse.responses.shape == (70, 24)
    assert (mouse.behavior is not None, mouse.pupil_center is not None) == takes
    model = kit.cnn_baseline(data, channels=2)
    assert (model.config.behavior_channels, model.config.shifter) == takes
    log = kit.train(model, data, kit.TrainConfig(epochs=1, device="cpu"))
    assert np.isfinite(log.loss).all()
    assert not kit.vit_baseline(data).core.takes_state
    refused = {"behavior": "gain", "pupil_center": "shifter"}[absent[0]]
    with pytest.raises(ValueError, match=r"this model takes (behaviour|eye position)"):
        kit.cnn_baseline(data, 2, kit.ModelConfig(image_size=(18, 32), **{refused: True}))


# ---- images of another aspect ----


def pictures(tmp_path, height, width):
    arrays = tiny.arrays(test={})
    arrays["images"] = np.ascontiguousarray(arrays["images"][:, :, :height, :width])
    return tiny.write(tmp_path, arrays)


@pytest.mark.parametrize("size, instead", [
    ((36, 64), (36, 36)), ((64, 36), (64, 64)), ((33, 32), (33, 33)),
])  # fmt: skip
def test_pack_refuses_to_squeeze_images(tmp_path, size, instead):
    path = pictures(tmp_path, 128, 128)
    said = refused(path, tmp_path / "data", size=size)
    assert f"size={size} would squeeze" in said and f"such as size={instead}, or crop" in said
    assert kit.load(path, instead, tmp_path / "data").image_size == instead


@pytest.mark.parametrize("size", [(36, 71), (33, 65), (35, 70), (132, 260), (1, 2)])
def test_pack_takes_sizes_of_one_aspect(tmp_path, size):
    """To a pixel, and larger ones too: they add nothing, and are not wrong."""
    path = pictures(tmp_path, 66, 130)
    if size == (35, 70):
        assert "such as size=(35, 69)" in refused(path, tmp_path / "data", size=size)
    else:
        assert kit.load(path, size, tmp_path / "data").image_size == size


# ---- units ----


def with_statistics(source, target, change):
    """A copy of a recording in which `change` has been made to the statistics, a dict."""
    start = f"{TOP}/meta/statistics/"
    with zipfile.ZipFile(source) as archive:
        names = [name for name in archive.namelist() if name.startswith(start)]
        statistics = {name: np.load(archive.open(name)) for name in names}
    old = {name.removeprefix(start).removesuffix(".npy"): v for name, v in statistics.items()}
    new = old | change(old)
    changes = {f"meta/statistics/{name}.npy": tiny.npy(values) for name, values in new.items()}
    return tiny.rewritten(source, target / source.name, changes=changes)


def exchanged(kind):
    mean, std = f"{kind}/all/mean", f"{kind}/all/std"
    return lambda old: {mean: old[std], std: old[mean]}


def scaled(kind, factor, neuron=...):
    def change(old):
        std = np.array(old[f"{kind}/all/std"])
        std[neuron] *= factor
        return {f"{kind}/all/std": std}

    return change


STATISTICS = {
    "images exchanged": ("images", exchanged("images")),
    "eye exchanged": ("pupil_center", exchanged("pupil_center")),
    "images of 0 to 1": ("images", lambda old: {
        f"images/all/{name}": old[f"images/all/{name}"] / 255 for name in ("mean", "std")}),
    "a mean of 0": ("images", lambda old: {"images/all/mean": np.zeros(())}),
    "an eye's mean of 0": ("pupil_center", lambda old: {"pupil_center/all/mean": np.zeros(2)}),
    **{f"{kind} with a std of {factor} times": (kind, scaled(kind, factor))
       for kind in kit.data.official.KINDS for factor in (1e30, 1e-2)},
    "images with a std of 0": ("images", scaled("images", 0)),
    "a neuron with a std of 1e30": ("responses", scaled("responses", 1e30, 3)),
    "a channel with a std of 1e30": ("behavior", scaled("behavior", 1e30, 1)),
    "an active neuron with a std of 0": ("responses", scaled("responses", 0, 3)),
}  # fmt: skip


@pytest.mark.parametrize("statistics", STATISTICS)
def test_pack_refuses_statistics_of_other_data(source, tmp_path, statistics):
    kind, change = STATISTICS[statistics]
    said = refused(with_statistics(source, tmp_path, change), tmp_path / "data")
    assert f"meta/statistics/{kind} in" in said and "or delete meta/statistics" in said


@pytest.mark.parametrize("seed", range(2))
def test_pack_takes_statistics_of_few_trials(tmp_path, seed):
    """The statistics are those of the public tiers, which may be few of all."""
    few = {"train": 5, "validation": 2}
    arrays = tiny.arrays(seed, neurons=6, tiers=few, test={"test": [2] * 9})
    kit.load(tiny.write(tmp_path, arrays), folder=tmp_path / "data")


def resting(recording, rng):
    """Running alone, in bouts: most trials hold zeros."""
    runs = rng.random((len(recording["tiers"]), 1)) < 0.1
    return recording["behavior"] * 0 + [0, 0, 10] * (runs * rng.normal(1, 0.02, runs.shape))


ZEROS = {
    "blank images": ("images", lambda recording, rng: np.where(
        rng.random((len(recording["tiers"]), 1, 1, 1)) < 0.5, 0, recording["images"])),
    "sparse responses": ("responses", lambda recording, rng: (
        recording["responses"] * (rng.random(recording["responses"].shape) < 0.15))),
    "a mouse at rest": ("behavior", resting),
}  # fmt: skip


@pytest.mark.parametrize("zeros", ZEROS)
def test_pack_takes_trials_of_zeros(tmp_path, zeros):
    """They count in the statistics like all others."""
    recording = tiny.arrays(neurons=3, tiers={"train": 300, "validation": 30})
    kind, change = ZEROS[zeros]
    recording[kind] = change(recording, np.random.default_rng(0))
    path = tiny.write(tmp_path, recording)
    kit.load(path, folder=tmp_path / "data")
    statistics = {f"meta/statistics/{kind}/all/{name}.npy": None for name in ("mean", "std")}
    path = tiny.rewritten(path, tmp_path / "computed.zip", changes=statistics)
    kit.load(path, folder=tmp_path / "data")


def test_pack_takes_silent_neurons_and_a_mouse_that_never_ran(tmp_path):
    arrays = tiny.arrays()
    arrays["behavior"][:, 2] = 0
    arrays["responses"][:, ::2] = 0
    arrays["responses"][:, 1] *= np.arange(len(arrays["responses"])) == 7  # a single burst
    mouse = kit.load(tiny.write(tmp_path, arrays), folder=tmp_path / "data").mouse
    assert not mouse.responses[:, ::2].any() and not mouse.behavior[:, 2].any()
    assert np.isfinite(mouse.behavior).all()


def test_pack_takes_stripes_of_four_pixels(tmp_path):
    arrays = tiny.arrays()
    stripes = np.where(np.arange(256) % 4 < 2, 1, 0.1)  # the first pixel of each is bright
    arrays["images"] = (arrays["images"] * stripes).astype(np.uint8)
    kit.load(tiny.write(tmp_path, arrays), folder=tmp_path / "data")


@pytest.mark.parametrize("spoils", ["a trial", "every trial"])
def test_pack_names_a_neuron_of_artefacts(tmp_path, spoils):
    """In its units all others would be silent; whose statistics they are does not matter."""
    arrays = tiny.arrays()
    arrays["responses"][: 1 if spoils == "a trial" else None, 3] += 1e5
    arrays["responses"][0, 3] *= 2
    arrays["tiers"][0] = "train"
    said = refused(tiny.write(tmp_path, arrays), tmp_path / "data")
    assert "meta/statistics/responses in" in said and "leave out neuron 3 (from 0), or" in said


@pytest.mark.parametrize("kinds", [kit.data.official.KINDS, ("responses",)])
def test_pack_without_statistics_computes_them(source, mouse, tmp_path, kinds):
    path = unpack(source, tmp_path)
    for kind in kinds:
        shutil.rmtree(path / "meta" / "statistics" / kind)
    loaded = kit.load(path, folder=tmp_path / "data").mouse
    for name, value in mouse.statistics.items():
        np.testing.assert_allclose(loaded.statistics[name], value, rtol=1e-5)
    for kind in kit.data.official.KINDS:
        np.testing.assert_allclose(getattr(loaded, kind), getattr(mouse, kind), atol=1e-5)


# ---- trials with NaN, and of other tiers ----


@pytest.mark.parametrize("kind", ["responses", "behavior", "pupil_center"])
def test_pack_leaves_out_trials_with_nan(source, mouse, arrays, tmp_path, kind):
    rows = [mouse.rows("train")[3], mouse.rows("test")[0]]
    spoiled = np.array(arrays[kind], float)
    spoiled[rows, 1] = np.nan
    changes = {f"data/{kind}/{row}.npy": tiny.npy(spoiled[row]) for row in rows}
    path = tiny.rewritten(source, tmp_path / source.name, changes=changes)
    loaded = kit.load(path, folder=tmp_path / "data").mouse
    assert np.flatnonzero(loaded.tiers == "NaN").tolist() == sorted(rows)
    assert "39 train, 12 validation, 10 test, 7 final_test trials (left out: 2 NaN)," in repr(
        loaded
    )
    assert not loaded.withheld("test")
    batch = loaded.first("train", 100)
    assert all(value.isfinite().all() for value in batch)
    used = loaded.tiers != "NaN"
    for name in ("tiers", *kit.data.official.KINDS):
        np.testing.assert_array_equal(getattr(loaded, name)[used], getattr(mouse, name)[used])


def test_pack_responses_that_are_withheld_as_nan(source, mouse, tmp_path):
    changes = {f"data/responses/{row}.npy": tiny.npy(np.full(24, np.nan))
               for row in mouse.rows("test")}  # fmt: skip
    path = tiny.rewritten(source, tmp_path / source.name, changes=changes)
    loaded = kit.load(path, folder=tmp_path / "data").mouse
    assert loaded.withheld("test") and not loaded.withheld("final_test")
    assert len(loaded.rows("test")) == 11 and "left out" not in repr(loaded)


def test_pack_refuses_nan_in_the_state_of_a_trial_to_predict(tmp_path):
    """To leave it out would change the submission."""
    arrays = tiny.arrays()
    row = int(np.flatnonzero(arrays["tiers"] == "test")[2])
    path = tiny.write(tmp_path, arrays, withholds=["responses"])
    gap = tiny.npy(np.array([1.5, np.nan, 2]))
    path = tiny.rewritten(path, tmp_path / "gap.zip", changes={f"data/behavior/{row}.npy": gap})
    said = refused(path, tmp_path / "data")
    assert f"data/behavior/{row}.npy in" in said and "must be predicted, or" in said


def test_pack_behavior_that_is_nan_throughout_is_absent(source, tmp_path):
    gap = tiny.npy(np.full(3, np.nan))
    changes = {f"data/behavior/{row}.npy": gap for row in range(70)}
    path = tiny.rewritten(source, tmp_path / source.name, changes=changes)
    mouse = kit.load(path, folder=tmp_path / "data").mouse
    assert mouse.behavior is None and "without behaviour" in repr(mouse)
    assert len(mouse.rows("train")) == 40


def test_pack_keeps_trials_of_other_tiers(source, mouse, tmp_path):
    tiers = mouse.tiers.astype("<U12")
    tiers[mouse.rows("train")[:5]] = "unused"
    tiers[mouse.rows("validation")[:2]] = "not shown, 2"
    tiers[mouse.rows("test")[:1]] = "none"
    changes = {"meta/trials/tiers.npy": tiny.npy(tiers)}
    path = tiny.rewritten(source, tmp_path / source.name, changes=changes)
    loaded = kit.load(path, folder=tmp_path / "data").mouse
    assert loaded.tiers.tolist() == tiers.tolist()
    assert "35 train, 10 validation, 10 test, 7 final_test trials" in repr(loaded)
    assert "(left out: 1 none, 2 not shown, 2, 5 unused)" in repr(loaded)
    assert len(loaded.batch(loaded.rows("unused")).images) == 5
    assert sum(len(batch.images) for batch in loaded.batches("train", 8)) == 35


def test_pack_without_mapped_files(source, mouse, tmp_path, monkeypatch):
    """Some network drives cannot map a file into memory."""
    load = np.load

    def unmapped(file, mmap_mode=None, **options):
        if mmap_mode:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return load(file, **options)

    monkeypatch.setattr(np, "load", unmapped)
    for _ in range(2):
        assert_same(kit.load(source, folder=tmp_path).mouse, mouse)
    arrays = tiny.write(tmp_path, withholds=["responses"])
    assert kit.load(arrays, folder=tmp_path).mouse.withheld("test")
