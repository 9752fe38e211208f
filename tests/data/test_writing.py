"""Arrays of one's own, written in the official layout: what is in the file, decided, refused."""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recording_files import left_in

import kit

NEURONS, ONCE, REPEATED, SHOWS = 30, 60, 6, 4
TRIALS = ONCE + REPEATED * SHOWS


def invented(**changes):
    """The arrays of a laboratory that differs in all: 40 x 50 pixels, running alone, no places."""
    rng = np.random.default_rng(0)
    image_ids = rng.permutation(np.r_[:ONCE, np.repeat(np.arange(ONCE, ONCE + REPEATED), SHOWS)])
    arrays = kit.RecordingArrays(
        images=rng.integers(0, 256, (ONCE + REPEATED, 40, 50)).astype(np.uint8),
        responses=rng.gamma(1, size=(TRIALS, NEURONS)),
        image_ids=image_ids,
        behavior={"running": rng.uniform(0, 9, TRIALS)},
    )
    return replace(arrays, **changes)


def official():
    """Arrays that have all there is in the benchmark, in other units."""
    rng = np.random.default_rng(1)
    arrays = invented(
        behavior={
            "running": rng.uniform(0, 9, TRIALS),
            "pupil": rng.uniform(20, 60, TRIALS),
            "pupil_change": rng.normal(size=TRIALS),
        },
        pupil_center=rng.normal([160, 118], [7, 4], (TRIALS, 2)),
        unit_ids=5 + 3 * rng.permutation(NEURONS),
        coordinates=rng.uniform(0, 600, (NEURONS, 3)),
    )
    return arrays


def content(path):
    """Name -> array, of all files in a zip, below its folder."""
    with zipfile.ZipFile(path) as archive:
        return {
            name.partition("/")[2].removesuffix(".npy"): np.load(archive.open(name))
            for name in archive.namelist()
            if name.endswith(".npy")
        }


def opened(path, folder, size=None):
    return kit.load(path, size, folder / "data").mouse


# ---- what is in the file ----


def test_write_recording_keeps_raw_values(tmp_path):
    arrays = official()
    report = kit.write_recording(tmp_path / "lab.zip", arrays)
    assert report and report.path == tmp_path / "lab.zip"
    files = content(report.path)
    assert {name.partition("/")[0] for name in files} == {"data", "meta"}
    for trial in range(TRIALS):
        image = files[f"data/images/{trial}"]
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image[0], arrays.images[arrays.image_ids[trial]])
        np.testing.assert_allclose(files[f"data/responses/{trial}"], arrays.responses[trial])
        behavior = [arrays.behavior[name][trial] for name in ("pupil", "pupil_change", "running")]
        np.testing.assert_array_equal(files[f"data/behavior/{trial}"], behavior)
        np.testing.assert_array_equal(
            files[f"data/pupil_center/{trial}"], arrays.pupil_center[trial]
        )
    np.testing.assert_array_equal(files["meta/neurons/unit_ids"], arrays.unit_ids)
    np.testing.assert_array_equal(files["meta/neurons/cell_motor_coordinates"], arrays.coordinates)
    np.testing.assert_array_equal(files["meta/trials/trial_idx"], np.arange(TRIALS))
    assert not any("behavior/names" in name or "recording" in name for name in files)


def test_write_recording_statistics_are_of_train_and_validation(tmp_path):
    arrays = official()
    files = content(kit.write_recording(tmp_path / "lab.zip", arrays).path)
    seen = files["meta/trials/tiers"] != "test"
    assert 0 < seen.sum() < TRIALS
    for kind, values in {
        "images": arrays.images[arrays.image_ids][seen],
        "responses": arrays.responses[seen],
        "pupil_center": arrays.pupil_center[seen],
    }.items():
        axis = None if kind == "images" else 0
        for name in ("mean", "std", "median", "min", "max"):
            expected = getattr(np, name)(values, axis=axis)
            written = files[f"meta/statistics/{kind}/all/{name}"]
            np.testing.assert_allclose(written, expected, rtol=1e-5)


def test_write_recording_zip_and_folder_hold_the_same(tmp_path):
    zipped = kit.write_recording(tmp_path / "lab.zip", invented()).path
    folder = kit.write_recording(tmp_path / "lab", invented()).path
    files = content(zipped)
    names = {file.relative_to(folder).as_posix() for file in folder.rglob("*.npy")}
    assert names == {f"{name}.npy" for name in files}
    for name, values in files.items():
        np.testing.assert_array_equal(np.load(folder / f"{name}.npy"), values)


def load_as_2022(path, folder):
    """All trials as the loader of 2022 gives them: unpacked, numbered files, official statistics.

    After neuralpredictors' FileTreeDataset and NeuroNormalizer, without the scaling of images.
    """
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    base = folder / Path(path).stem  # where that loader looks
    trials = len(np.load(base / "meta/trials/tiers.npy"))
    loaded = {}
    for kind in ("images", "responses", "behavior", "pupil_center"):
        if not (base / "data" / kind).exists():
            continue
        values = np.stack([np.load(base / "data" / kind / f"{i}.npy") for i in range(trials)])
        mean, std = (np.load(base / f"meta/statistics/{kind}/all/{n}.npy") for n in ("mean", "std"))
        if kind in ("images", "pupil_center"):
            loaded[kind] = (values - mean) / std
        elif kind == "behavior":
            loaded[kind] = values / std
        else:  # the precision: 1 / s, or 1 / threshold of 1 % of the mean std
            threshold = 0.01 * std.mean()
            precision = np.where(std > threshold, 1 / np.maximum(std, 1e-30), 1 / threshold)
            loaded[kind] = values * precision
    meta = base / "meta"
    loaded["tiers"] = np.load(meta / "trials/tiers.npy")
    loaded["unit_ids"] = np.load(meta / "neurons/unit_ids.npy")
    loaded["coordinates"] = np.load(meta / "neurons/cell_motor_coordinates.npy")
    return loaded


@pytest.mark.parametrize("arrays", [official(), invented()], ids=["official", "invented"])
def test_write_recording_opens_equal_in_the_2022_loader(tmp_path, arrays):
    path = kit.write_recording(tmp_path / "lab.zip", arrays).path
    mouse, expected = opened(path, tmp_path, (40, 50)), load_as_2022(path, tmp_path)
    assert ("pupil_center" in expected) == (mouse.pupil_center is not None)
    for name, values in expected.items():
        if name == "tiers":
            np.testing.assert_array_equal(mouse.tiers, values)
        else:
            np.testing.assert_allclose(getattr(mouse, name), values, atol=1e-5)


def test_write_recording_agrees_with_the_2022_loader(shared, tmp_path):
    """A recording that the loader of 2022 has read: from its arrays comes the same recording."""
    (source,) = (shared / "recordings").glob("static*.zip")
    files = content(source)
    trials = len(files["meta/trials/tiers"])

    def trials_of(kind):
        return np.stack([files[f"data/{kind}/{i}"] for i in range(trials)])

    behavior = dict(zip(("pupil", "pupil_change", "running"), trials_of("behavior").T, strict=True))
    arrays = kit.RecordingArrays(
        trials_of("images")[:, 0],
        trials_of("responses"),
        mouse="90001-1-1",
        tiers=files["meta/trials/tiers"],
        behavior=behavior,
        pupil_center=trials_of("pupil_center"),
        unit_ids=files["meta/neurons/unit_ids"],
        coordinates=files["meta/neurons/cell_motor_coordinates"],
    )
    path = kit.write_recording(tmp_path / "static90001-1-1-GrayImageNet-again.zip", arrays).path
    mouse, old = opened(path, tmp_path), opened(source, tmp_path)
    with np.load(shared / "recordings" / "expected-90001-1-1.npz") as file:
        expected = {name: file[name] for name in file.files}
    assert mouse.mouse == "90001-1-1"
    batch = mouse.batch(expected["trial_rows"])
    scale = old.statistics["images_std"] / mouse.statistics["images_std"]
    shift = old.statistics["images_mean"] - mouse.statistics["images_mean"]
    images = expected["images"][:, :1] * scale + shift / mouse.statistics["images_std"]
    np.testing.assert_allclose(batch.images, images, atol=1e-5)
    for kind in ("behavior", "pupil_center"):
        raw = expected[kind] * old.statistics[f"{kind}_std"] + old.statistics[f"{kind}_mean"]
        again = (raw - mouse.statistics[f"{kind}_mean"]) / mouse.statistics[f"{kind}_std"]
        np.testing.assert_allclose(getattr(batch, kind), again, atol=1e-5)


# ---- what is decided ----


def test_write_recording_draws_tiers(tmp_path):
    arrays = invented()
    tiers = [
        opened(kit.write_recording(tmp_path / f"{i}.zip", arrays, seed).path, tmp_path).tiers
        for i, seed in enumerate([0, 0, 1])
    ]
    np.testing.assert_array_equal(tiers[0], tiers[1])
    assert (tiers[0] != tiers[2]).any()
    for each in tiers:
        np.testing.assert_array_equal(each == "test", arrays.image_ids >= ONCE)
        assert (each == "validation").sum() == ONCE // 10
        assert (each == "train").sum() == ONCE - ONCE // 10


def test_write_recording_keeps_tiers_and_ids(tmp_path):
    tiers = np.array(["train", "validation", "test", "unused"])[np.arange(TRIALS) % 4]
    images = np.random.default_rng(0).integers(0, 255, (TRIALS, 20, 36)).astype(float) / 2
    arrays = invented(images=images, image_ids=None, tiers=tiers.tolist())
    mouse = opened(kit.write_recording(tmp_path / "lab.zip", arrays).path, tmp_path, (20, 36))
    np.testing.assert_array_equal(mouse.tiers, tiers)
    np.testing.assert_array_equal(mouse.image_ids, np.arange(TRIALS))
    raw = mouse.images[:, 0] * mouse.statistics["images_std"] + mouse.statistics["images_mean"]
    np.testing.assert_allclose(raw, images, atol=1e-4)  # halves of grey values are kept


def test_write_recording_gives_equal_pixels_one_id_and_tier(tmp_path):
    """One image a trial, as most laboratories keep them: repeats are found by their pixels."""
    arrays = invented()
    per_trial = replace(arrays, images=arrays.images[arrays.image_ids], image_ids=None)
    mouse = opened(kit.write_recording(tmp_path / "lab.zip", per_trial).path, tmp_path)
    same = arrays.image_ids[:, None] == arrays.image_ids
    np.testing.assert_array_equal(mouse.image_ids[:, None] == mouse.image_ids, same)
    np.testing.assert_array_equal(mouse.tiers == "test", arrays.image_ids >= ONCE)
    twice = arrays.images.copy()
    twice[7] = twice[3]  # listed under two ids
    report = kit.write_recording(tmp_path / "twice.zip", invented(images=twice))
    mouse = opened(report.path, tmp_path)
    rows = np.isin(arrays.image_ids, [3, 7])
    assert set(mouse.image_ids[rows]) == {3} and set(mouse.tiers[rows]) == {"test"}
    assert "65 different ones, 40 x 50 pixels, 1 shown 2 times, 6 shown 4 times" in str(report)


def test_write_recording_leaves_out_trials_with_nan(tmp_path):
    arrays = official()
    arrays.responses[3, 5] = arrays.behavior["pupil"][10] = arrays.pupil_center[12, 1] = np.nan
    arrays.pupil_center[3] = np.nan
    report = kit.write_recording(tmp_path / "lab.zip", arrays)
    assert "left out: 3 trials with NaN" in str(report)
    mouse = opened(report.path, tmp_path)
    np.testing.assert_array_equal(mouse.trial_ids, np.delete(np.arange(TRIALS), [3, 10, 12]))
    assert not np.isnan(mouse.responses).any()


def test_write_recording_reports_what_it_decided(tmp_path):
    arrays = invented()
    arrays.responses[:, 4] = 0
    report = kit.write_recording(tmp_path / "lab.zip", arrays)
    assert str(report) == (
        f"OK: {tmp_path}/lab.zip: mouse lab, 30 neurons\n"
        "  - trials: 54 train, 6 validation, 24 test (drawn: images shown more than once are test)"
        "\n"
        "  - images: 66 different ones, 40 x 50 pixels, 6 shown 4 times\n"
        "  - left out: no trials with NaN\n"
        "  - silent: 1 neurons whose responses never change in train and validation\n"
        "  - behaviour: running; eye position: not known, so models have no shifter\n"
        "  - coordinates: not known, so zeros are written, and the readout of a model learns a "
        "free position for each neuron"
    )
    said = str(kit.write_recording(tmp_path / "all.zip", official()))
    assert "coordinates" not in said and "eye position: known" in said


@pytest.mark.parametrize("name, mouse, expected", [
    ("lab.zip", None, "lab"), ("lab.zip", "M-7", "M-7"), ("lab", "M-7", "M-7"),
    ("static7-1-1-GrayImageNet-x.zip", None, "7-1-1"),
    ("static7-1-1-GrayImageNet-x.zip", "7-1-1", "7-1-1"),
])  # fmt: skip
def test_write_recording_mouse(tmp_path, name, mouse, expected):
    path = kit.write_recording(tmp_path / name, invented(mouse=mouse)).path
    assert opened(path, tmp_path).mouse == expected
    moved = path.rename(path.with_name(f"new-{name}"))
    found = opened(moved, tmp_path).mouse
    assert found == (expected if mouse or name[0] == "s" else "new-lab")


def test_write_recording_behavior_keeps_its_names(tmp_path):
    rng = np.random.default_rng(0)
    columns = {"lick rate": rng.uniform(0, 3, TRIALS), "pupil": rng.uniform(1, 2, TRIALS)}
    path = kit.write_recording(tmp_path / "lab.zip", invented(behavior=columns)).path
    mouse = opened(path, tmp_path)
    assert mouse.behavior_names == ("pupil", "lick rate")
    assert mouse.behavior.shape == (TRIALS, 2)
    seen = np.isin(mouse.tiers, ["train", "validation"])
    scaled = columns["lick rate"] / columns["lick rate"][seen].std()
    np.testing.assert_allclose(mouse.behavior[:, 1], scaled, rtol=1e-5)
    np.testing.assert_allclose(
        mouse.statistics["behavior_average"][1], scaled[seen].mean(), rtol=1e-5
    )
    assert "with behaviour (pupil, lick rate)" in repr(mouse)


# ---- what is refused ----

GOOD = official()
NAN = np.nan * np.ones(TRIALS)
THREE = np.array(["train", "validation", "test"])[np.arange(TRIALS) % 3]
WRONG = {
    "colour images": ({"images": np.ones((9, 40, 50, 3))}, "grey, .*give average their colours"),
    "images with a channel": ({"images": GOOD.images[:, None]}, r"give images\[:, 0\]"),
    "one image": ({"images": GOOD.images[0]}, r"images must be numbers \(T, H, W\)"),
    "text for images": ({"images": "lab.npy"}, "images must be numbers"),
    "complex images": ({"images": GOOD.images + 1j}, "images must be numbers"),
    "trials last in images": (
        {"images": np.moveaxis(GOOD.images[GOOD.image_ids], 0, -1), "image_ids": None},
        r"np.moveaxis\(images, -1, 0\)"),
    "enormous images": ({"images": np.zeros((2, 4, 2000), np.uint8)}, "sides of 4 to 1024"),
    "pixels from 0 to 1": ({"images": GOOD.images / 255}, r"run from 0 to 1; .*255 \* images"),
    "z-scored pixels": ({"images": (GOOD.images - 113.5) / 64.6}, "as if z-scored"),
    "pixels of 16 bits": ({"images": GOOD.images * np.uint16(257)}, "more than 8 bits"),
    "NaN in an image": ({"images": np.where(GOOD.images > 254, np.nan, 9)}, "images has values"),
    "constant images": ({"images": np.full((66, 40, 50), 113)}, "113: they are all the same"),
    "fewer trials of images than of responses": ({"image_ids": None}, "give one row of responses"),
    "image ids from 1": ({"image_ids": GOOD.image_ids + 1}, "run from 1 to 66, .*from 0 to 65"),
    "negative image ids": ({"image_ids": GOOD.image_ids - 1}, "run from -1"),
    "fractional image ids": ({"image_ids": GOOD.image_ids + 0.5}, "image_ids has values such as"),
    "image ids of two columns": ({"image_ids": GOOD.image_ids[:, None]}, r"ids must .*\(T,\)"),
    "transposed responses": ({"responses": GOOD.responses.T}, "give responses.T"),
    "responses of one neuron as a row": ({"responses": GOOD.responses[:, 0]}, r"\(T, N\)"),
    "negative dF/F": ({"responses": GOOD.responses - 0.3}, r"0 or more.*np.maximum\(resp"),
    "infinite responses": ({"responses": GOOD.responses + np.inf}, "go up to inf"),
    "NaN in every trial": (
        {"responses": np.where(np.arange(NEURONS) == 7, np.nan, GOOD.responses)},
        "neuron 7 is NaN throughout"),
    "responses of zeros": ({"responses": 0 * GOOD.responses}, "all responses are 0"),
    "a neuron of artefacts": (
        {"responses": GOOD.responses * np.where(np.arange(NEURONS) == 2, 1e6, 1)}, "neuron 2 have"),
    "behaviour as an array": ({"behavior": np.ones((TRIALS, 3))}, "behavior is a ndarray; give a"),
    "behaviour without a name": ({"behavior": {0: NAN}}, "behavior has a column 0"),
    "a column of behaviour too short": (
        {"behavior": {"running": np.arange(9)}}, r"\['running'\] must .*\(84,\)"),
    "behaviour that never changes": (
        {"behavior": {"running": np.zeros(TRIALS)}}, r"'running'\] never changes"),
    "behaviour of NaN": ({"behavior": {"running": NAN}}, "is NaN in every trial; leave it out"),
    "infinite behaviour": (
        {"behavior": {"running": np.r_[np.inf, np.ones(TRIALS - 1)]}},
        "values that are not finite"),
    "transposed eye position": ({"pupil_center": GOOD.pupil_center.T}, r"must .*\(84, 2\)"),
    "repeated unit ids": ({"unit_ids": np.arange(NEURONS) // 2}, "unit_ids has 0 2 times"),
    "fractional unit ids": ({"unit_ids": np.arange(NEURONS) + 0.1}, "unit_ids has values such as"),
    "unit ids of fewer neurons": ({"unit_ids": np.arange(9)}, r"unit_ids must be numbers \(30,\)"),
    "transposed coordinates": ({"coordinates": GOOD.coordinates.T}, r"\(30, 2\) or \(30, 3\)"),
    "coordinates in millimetres": ({"coordinates": GOOD.coordinates / 1000}, "1000 . coordinates"),
    "NaN in coordinates": ({"coordinates": GOOD.coordinates * np.nan}, "not finite"),
    "an unknown tier": ({"tiers": ["trian"] * TRIALS}, "no tier 'trian'; did you mean 'train'"),
    "fewer tiers than trials": ({"tiers": ["train"]}, "tiers must be 84 texts"),
    "no validation": ({"tiers": ["train"] * TRIALS}, "0 trials without NaN .* tier validation"),
    "an image in two tiers": ({"tiers": THREE}, "of the same pixels, lies in the tiers"),
    "every image repeated": ({"image_ids": GOOD.image_ids % 5}, "0 of 84 trials .* give tiers"),
    "a mouse with a slash": ({"mouse": "a/b"}, "mouse='a/b' is not possible"),
    "a mouse of another file": ({"mouse": "8"}, "is a file of mouse 7-1-1, not of 8"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_write_recording_refuses(tmp_path, wrong):
    changes, sentence = WRONG[wrong]
    path = tmp_path / "static7-1-1-GrayImageNet-lab.zip"
    with pytest.raises(ValueError, match=sentence) as caught:
        kit.write_recording(path, replace(GOOD, **changes))
    message = str(caught.value)
    assert "\n" not in message and len(message) < 300 and ("; " in message or " give " in message)
    assert list(tmp_path.iterdir()) == []


def test_write_recording_refuses_other_arguments(tmp_path):
    with pytest.raises(ValueError, match=r"arrays are a tuple; give kit.RecordingArrays"):
        kit.write_recording(tmp_path / "lab.zip", (GOOD.images, GOOD.responses))
    with pytest.raises(ValueError, match="seed=-1"):
        kit.write_recording(tmp_path / "lab.zip", GOOD, seed=-1)


@pytest.mark.parametrize("name", ["lab.zip", "lab"])
def test_write_recording_replaces_nothing(tmp_path, name):
    path = tmp_path / name
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=f"{name} exists already and is never replaced"):
        kit.write_recording(path, invented())
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", ["lab.zip", "lab"])
def test_write_recording_leaves_nothing_half_written(tmp_path, monkeypatch, name):
    monkeypatch.setattr(kit.data.official, "_statistics", lambda values: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        kit.write_recording(tmp_path / name, invented())
    assert left_in(tmp_path) == []


# ---- what becomes of it ----


def test_write_recording_from_arrays_to_public_zip(tmp_path):
    """Running alone and no places: load, train, ask, withhold."""
    path = kit.write_recording(tmp_path / "lab.zip", invented()).path
    data = kit.load(path, folder=tmp_path / "data")
    model = kit.cnn_baseline(data, channels=2)
    kit.train(model, data, kit.TrainConfig(epochs=1, device="cpu"))
    assert kit.lab.orientation_tuning(model).preferred.shape == (NEURONS,)
    assert kit.lab.receptive_fields(model, [3, 7]).any((1, 2)).all()
    steps = kit.lab.AscentConfig(steps=2)
    assert kit.lab.most_exciting_images(model, [3], config=steps).images.shape == (1, 1, 43, 54)
    assert kit.lab.state_tuning(model, "running").curves.shape[0] == NEURONS
    whole = kit.load(path, size=(40, 50), folder=tmp_path / "data").mouse
    public, private = kit.withhold(whole, tmp_path / "challenge")
    shown = opened(public, tmp_path, (40, 50))
    assert shown.behavior_names == ("running",) and shown.pupil_center is None
    assert shown.withheld("test") and (private / "key.csv").is_file()
    rows = np.loadtxt(private / "key.csv", delimiter=",", skiprows=1, usecols=3, dtype=int)
    raw = whole.behavior[rows] * whole.statistics["behavior_std"]
    again = shown.behavior * shown.statistics["behavior_std"]
    np.testing.assert_allclose(again, raw, atol=1e-3)  # 16 bits of each are kept


@pytest.mark.parametrize("recorded, size", [
    ((48, 48), (48, 48)), ((36, 64), (36, 64)), ((66, 130), (34, 67)), ((144, 256), (36, 64)),
    ((120, 160), (42, 56)), ((4, 40), (15, 150)),
])  # fmt: skip
def test_load_keeps_the_aspect_of_the_recording(tmp_path, recorded, size):
    images = np.random.default_rng(0).integers(0, 256, (ONCE + REPEATED, *recorded))
    path = kit.write_recording(tmp_path / "lab.zip", invented(images=images)).path
    data = kit.load(path, folder=tmp_path / "data")
    assert tuple(data.image_size) == size
    assert abs(np.prod(size) - 36 * 64) < 80
    assert kit.load(path, folder=tmp_path / "data").mouse.packed == data.mouse.packed
    model = kit.cnn_baseline(data, channels=2)
    kit.train(model, data, kit.TrainConfig(epochs=1, device="cpu"))
    assert kit.lab.orientation_tuning(model).curves.shape[0] == NEURONS
    squeezed = (36, 64) if size != (36, 64) else (36, 36)
    with pytest.raises(ValueError, match="would squeeze the images"):
        kit.load(path, squeezed, tmp_path / "data")
