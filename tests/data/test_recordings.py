"""Recordings: the official layout in, standardised batches out; the source is never touched."""

import dataclasses
import shutil
import zipfile

import numpy as np
import pytest
import tiny
import torch
from torch.nn.functional import interpolate

import kit

TOP = "static7-1-1-GrayImageNet-tiny"


@pytest.fixture(scope="module")
def arrays():
    arrays = tiny.arrays()
    arrays["responses"][:, 4] *= 1e-6  # a neuron that is all but silent
    return arrays


@pytest.fixture(scope="module")
def source(tmp_path_factory, arrays):
    return tiny.write(tmp_path_factory.mktemp("source"), arrays)


@pytest.fixture(scope="module")
def mouse(source, tmp_path_factory):
    return kit.load(source, folder=tmp_path_factory.mktemp("data")).mouse


def same(one, other):
    for field in dataclasses.fields(one):
        if field.name == "statistics":
            assert one.statistics.keys() == other.statistics.keys()
            for name in one.statistics:
                np.testing.assert_array_equal(one.statistics[name], other.statistics[name])
        else:
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def everything_in(folder):
    """Every path below a folder with its size and time of change."""
    return {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in [folder, *folder.rglob("*")]}


# ---- standardisation ----


def test_responses_are_divided_by_their_std_and_the_smallest_std_is_floored(mouse, arrays):
    seen = np.isin(arrays["tiers"], ["train", "validation"])
    std = arrays["responses"][seen].astype(float).std(0)
    assert std[4] < 0.01 * std.mean()
    std[4] = 0.01 * std.mean()
    np.testing.assert_allclose(mouse.responses, arrays["responses"] / std, rtol=1e-5)
    assert mouse.responses[seen].std(0)[5] == pytest.approx(1, abs=1e-5)
    assert (mouse.responses >= 0).all()  # divided, never centred


def test_behavior_is_divided_and_pupil_center_is_z_scored(mouse, arrays):
    seen = np.isin(arrays["tiers"], ["train", "validation"])
    behavior, eye = arrays["behavior"], arrays["pupil_center"]
    np.testing.assert_allclose(mouse.behavior, behavior / behavior[seen].std(0), rtol=1e-5)
    expected = (eye - eye[seen].mean(0)) / eye[seen].std(0)
    np.testing.assert_allclose(mouse.pupil_center, expected, atol=1e-4)


def test_images_are_z_scored_then_scaled_as_torch_does(mouse, arrays):
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


def test_the_statistics_that_were_used_are_kept(mouse, arrays):
    seen = np.isin(arrays["tiers"], ["train", "validation"])
    assert set(mouse.statistics) == {
        f"{kind}_{name}"
        for kind in ("images", "responses", "behavior", "pupil_center")
        for name in ("mean", "std")
    }
    assert mouse.statistics["images_mean"] == pytest.approx(arrays["images"][seen].mean(), rel=1e-6)
    assert mouse.statistics["responses_mean"].tolist() == [0] * 24
    raw = mouse.responses * mouse.statistics["responses_std"]
    np.testing.assert_allclose(raw, arrays["responses"], rtol=1e-5)


def test_ids_are_those_of_the_files(mouse, arrays):
    assert mouse.mouse == "7-1-1"
    for ours, theirs in (
        ("tiers", "tiers"),
        ("image_ids", "frame_image_id"),
        ("trial_ids", "trial_idx"),
        ("unit_ids", "unit_ids"),
        ("coordinates", "cell_motor_coordinates"),
    ):
        np.testing.assert_array_equal(getattr(mouse, ours), arrays[theirs])


def test_a_behaviour_that_never_varies_stays_finite(tmp_path):
    arrays = tiny.arrays()
    arrays["behavior"][:, 2] = 0  # a mouse that never ran
    mouse = kit.load(tiny.write(tmp_path, arrays), folder=tmp_path / "data").mouse
    assert (mouse.behavior[:, 2] == 0).all()
    assert np.isfinite(mouse.behavior).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.int64])
def test_images_of_any_number_type(source, mouse, arrays, tmp_path, dtype):
    changes = {
        f"data/images/{i}.npy": tiny.npy(image.astype(dtype))
        for i, image in enumerate(arrays["images"])
    }
    copy = tiny.rewritten(source, tmp_path / source.name, changes=changes)
    same(kit.load(copy, folder=tmp_path / "data").mouse, mouse)


# ---- layouts ----


def test_zip_and_folder_give_equal_arrays(source, mouse, tmp_path):
    with zipfile.ZipFile(source) as archive:
        archive.extractall(tmp_path)
    same(kit.load(str(tmp_path / TOP), folder=tmp_path / "data").mouse, mouse)


@pytest.mark.parametrize("unpacked", [False, True], ids=["zip", "folder"])
@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name.removeprefix(f"{TOP}/"),
        lambda name: f"download/{name}",
        lambda name: name.replace(TOP, "renamed"),
    ],
    ids=["no top folder", "another above", "another name"],
)
def test_other_top_folders_are_tolerated(source, mouse, tmp_path, rename, unpacked):
    path = tiny.rewritten(source, tmp_path / source.name, rename)
    if unpacked:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path / TOP)
        path = tmp_path / TOP
    same(kit.load(path, folder=tmp_path / "data").mouse, mouse)


@pytest.mark.parametrize("unpacked", [False, True], ids=["zip", "folder"])
def test_what_a_mac_adds_is_left_alone(source, mouse, tmp_path, unpacked):
    added = {
        f"__MACOSX/{TOP}/meta/trials/tiers.npy": b"\0\5\x16\7",
        f"__MACOSX/{TOP}/meta/trials/._tiers.npy": b"\0\5\x16\7",
        f"{TOP}/meta/trials/._tiers.npy": b"\0\5\x16\7",
        f"{TOP}/data/images/._0.npy": b"\0\5\x16\7",
        f"{TOP}/.DS_Store": b"\0\0\0\1Bud1",
        f"{TOP}/data/images/.DS_Store": b"\0\0\0\1Bud1",
    }
    path = tiny.rewritten(source, tmp_path / source.name, changes=added)
    if unpacked:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path / TOP)
        path = tmp_path / TOP
    same(kit.load(path, folder=tmp_path / "data").mouse, mouse)


def test_files_that_are_not_used_are_not_required(source, mouse, tmp_path):
    members = zipfile.ZipFile(source).namelist()
    unused = [
        name.removeprefix(f"{TOP}/")
        for name in members
        if name.endswith(("/median.npy", "/min.npy", "/max.npy"))
    ]
    assert len(unused) == 12
    path = tiny.rewritten(source, tmp_path / source.name, changes=dict.fromkeys(unused))
    same(kit.load(path, folder=tmp_path / "data").mouse, mouse)


def test_the_shared_recording_agrees_with_the_2022_loader(shared, tmp_path):
    folder = shared / "recordings"
    (source,) = folder.glob("static*.zip")
    with zipfile.ZipFile(source) as archive:
        archive.extractall(tmp_path)
    with np.load(folder / "expected-90001-1-1.npz") as file:
        expected = {name: file[name] for name in file.files}
    rows = expected.pop("trial_rows")
    for path in (source, tmp_path / source.stem):
        mouse = kit.load(path, folder=tmp_path / "data").mouse
        assert mouse.mouse == "90001-1-1"
        np.testing.assert_array_equal(mouse.rows("test")[:3], rows)
        batch = mouse.first("test", 3)
        np.testing.assert_allclose(batch.images, expected["images"][:, :1], atol=1e-5)
        tiled = np.broadcast_to(batch.behavior[:, :, None, None], (3, 3, 36, 64))
        np.testing.assert_allclose(tiled, expected["images"][:, 1:], atol=1e-5)
        for name in ("behavior", "pupil_center"):
            np.testing.assert_allclose(getattr(batch, name), expected[name], atol=1e-5)
        assert batch.responses is None  # withheld: the 2022 loader gives zeros
        assert not expected["responses"].any() and np.isnan(mouse.responses[rows]).all()


@pytest.mark.parametrize(
    "absent, takes",
    [
        (["behavior", "pupil_center"], (False, False)),
        (["behavior"], (False, True)),
        (["pupil_center"], (True, False)),
    ],
    ids=["behaviour and eye", "behaviour", "eye"],
)
def test_load_recording_of_a_lab_that_records_no_behavior(source, tmp_path, absent, takes):
    """As other labs export theirs: no folder, and no statistics of what is not there."""
    with zipfile.ZipFile(source) as archive:
        archive.extractall(tmp_path)
    folder = (tmp_path / TOP).rename(tmp_path / "nat30k_lab_2024_01_02")
    for kind in absent:
        shutil.rmtree(folder / "data" / kind)
        shutil.rmtree(folder / "meta" / "statistics" / kind)
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


# ---- packing ----


def test_loading_never_writes_into_a_folder(source, tmp_path):
    with zipfile.ZipFile(source) as archive:
        archive.extractall(tmp_path / "source")
    folder = tmp_path / "source" / TOP
    for path in [*folder.rglob("*"), folder, folder.parent]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = everything_in(folder.parent)
    try:
        assert len(kit.load(folder, folder=tmp_path / "data").mouse.images) == 70
        assert everything_in(folder.parent) == before
    finally:
        for path in [folder.parent, folder, *(p for p in folder.rglob("*") if p.is_dir())]:
            path.chmod(0o755)


def test_loading_never_writes_beside_a_zip(source, tmp_path):
    before = everything_in(source.parent)
    kit.load(source, folder=tmp_path / "data")
    assert everything_in(source.parent) == before


def test_the_second_opening_does_not_read_the_source(source, mouse, tmp_path, monkeypatch):
    kit.load(source, folder=tmp_path)
    before = everything_in(tmp_path)
    monkeypatch.setattr(zipfile.ZipFile, "read", None)  # cannot be called
    same(kit.load(source, folder=tmp_path).mouse, mouse)
    assert everything_in(tmp_path) == before


def test_a_changed_source_is_packed_again(tmp_path):
    path = tiny.write(tmp_path, tiny.arrays(seed=0))
    first = kit.load(path, folder=tmp_path / "data").mouse
    kept = first.responses.copy()
    tiny.write(tmp_path, tiny.arrays(seed=1))
    second = kit.load(path, folder=tmp_path / "data").mouse
    assert not np.array_equal(second.responses, kept)
    np.testing.assert_array_equal(first.responses, kept)  # what is open stays as it was


def test_a_recording_rewritten_in_the_same_size_is_packed_again(tmp_path):
    recording = tiny.arrays()
    path = tiny.write(tmp_path, recording)
    size, kept = (
        path.stat().st_size,
        kit.load(path, folder=tmp_path / "data").mouse.responses.copy(),
    )
    recording["responses"] = recording["responses"][::-1].copy()
    tiny.write(tmp_path, recording)
    assert path.stat().st_size == size
    again = kit.load(path, folder=tmp_path / "data").mouse.responses
    assert not np.array_equal(again, kept)


def test_a_changed_file_of_a_folder_is_packed_again(source, tmp_path):
    with zipfile.ZipFile(source) as archive:
        archive.extractall(tmp_path)
    first = kit.load(tmp_path / TOP, folder=tmp_path / "data").mouse
    np.save(tmp_path / TOP / "data" / "responses" / "3.npy", np.full(24, 7, np.float32))
    second = kit.load(tmp_path / TOP, folder=tmp_path / "data").mouse
    rows = (first.responses != second.responses).any(1)
    assert np.flatnonzero(rows).tolist() == [3]


def test_sizes_are_kept_apart(source, mouse, arrays, tmp_path):
    for size in ((18, 32), (144, 256), [36, 64], (36, 64)):
        loaded = kit.load(source, size=size, folder=tmp_path)
        assert loaded.mouse.images.shape == (70, 1, *size)
        assert tuple(loaded.image_size) == tuple(size)
    same(loaded.mouse, mouse)
    full = kit.load(source, size=(144, 256), folder=tmp_path).mouse
    raw = full.images * full.statistics["images_std"] + full.statistics["images_mean"]
    np.testing.assert_allclose(raw, arrays["images"], atol=1e-3)


@pytest.mark.parametrize("size", [36, (36,), (36, 64, 1), (0, 64), (-36, 64), (3.6, 6.4), "ab"])
def test_a_size_that_is_none(source, tmp_path, size):
    with pytest.raises(ValueError, match=r"size=.* is not a height and width"):
        kit.load(source, size=size, folder=tmp_path)


def test_a_folder_of_any_name_gives_a_mouse_that_can_be_modelled(source, tmp_path, monkeypatch):
    """Its name becomes the mouse's; no name may trip a model later."""
    with zipfile.ZipFile(source) as archive:
        archive.extractall(tmp_path)
    for name in ("my mouse", "mouse v1.2", "train"):
        shutil.copytree(tmp_path / TOP, tmp_path / name)
        data = kit.load(tmp_path / name, folder=tmp_path / "data")
        model = kit.linear_baseline(data, channels=2)
        assert kit.predict(model, data, "validation").shape == (12, 24)
    monkeypatch.chdir(tmp_path / TOP)
    data = kit.load(".", folder=tmp_path / "data")
    assert data.mouse.mouse == "7-1-1"


def test_two_threads_meeting_at_the_end_both_succeed(source, mouse, tmp_path, monkeypatch):
    """Another process finishes the same packing while this one is at it."""
    pack = kit.data.loading.pack

    def overtaken(*arguments):
        monkeypatch.setattr(kit.data.loading, "pack", pack)
        kit.load(source, folder=tmp_path)
        pack(*arguments)

    monkeypatch.setattr(kit.data.loading, "pack", overtaken)
    same(kit.load(source, folder=tmp_path).mouse, mouse)
    assert len(list((tmp_path / "packed").iterdir())) == 1


# ---- batches ----


def trials_of(mouse, batch):
    """Which trials of the recording a batch holds, told by their eye positions."""
    return [
        int(np.flatnonzero((mouse.pupil_center == eye).all(1))[0])
        for eye in batch.pupil_center.numpy()
    ]


def test_batches_cover_each_trial_once_and_the_last_may_be_short(mouse):
    sizes, trials = [], []
    for batch in mouse.batches("train", 16):
        sizes.append(len(batch.images))
        trials += trials_of(mouse, batch)
    assert sizes == [16, 16, 8]
    assert trials == mouse.rows("train").tolist()  # in the order of the recording


def test_a_seed_fixes_the_order(mouse):
    def order(seed):
        return [t for batch in mouse.batches("train", 16, seed) for t in trials_of(mouse, batch)]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order((1, 0)) != order((1, 1))  # a seed and an epoch
    assert sorted(order(1)) == sorted(order(2)) == mouse.rows("train").tolist()
    assert order(1) != sorted(order(1))


def test_the_size_of_batches_changes_nothing_else(mouse):
    once = next(mouse.batches("validation", 100, seed=3))
    many = list(mouse.batches("validation", 5, seed=3))
    for whole, parts in zip(once, zip(*many, strict=True), strict=True):
        torch.testing.assert_close(whole, torch.cat(parts), rtol=0, atol=0)


def test_a_batch_has_the_rows_of_the_recording(mouse):
    batch = mouse.first("train", 3)
    rows = mouse.rows("train")[:3]
    for name in ("images", "responses", "behavior", "pupil_center"):
        value = getattr(batch, name)
        assert value.dtype == torch.float32
        np.testing.assert_array_equal(value, getattr(mouse, name)[rows])
    assert len(mouse.first("validation", 1000).images) == 12
    batch.images[:] = 0  # a copy: the recording stays as it is
    assert mouse.images[rows].any()


def test_a_batch_of_nothing_is_refused(mouse):
    with pytest.raises(ValueError, match="batch of 0 trials"):
        list(mouse.batches("train", 0))


def test_an_unknown_tier_names_those_there_are(mouse):
    for call in (mouse.rows, lambda tier: mouse.first(tier, 2), mouse.withheld):
        with pytest.raises(ValueError, match=r"no tier 'live'; its tiers are train, valid.*final"):
            call("live")


# ---- what is withheld ----


def test_withheld_responses_and_behavior(source, tmp_path):
    path = tiny.write(tmp_path, withholds=("responses", "behavior"))
    mouse = kit.load(path, folder=tmp_path / "data").mouse
    assert mouse.behavior is None
    assert mouse.pupil_center is None
    batch = mouse.first("test", 2)
    assert batch.behavior is None
    assert batch.pupil_center is None
    assert batch.to("cpu").behavior is None
    assert [mouse.withheld(t) for t in ("train", "validation", "test", "final_test")] == [
        False,
        False,
        True,
        True,
    ]
    assert batch.responses is None and mouse.first("train", 2).responses.isfinite().all()
    assert np.isnan(mouse.responses[mouse.rows("test")]).all()
    assert mouse.batch([mouse.rows("train")[0], mouse.rows("test")[0]]).responses is None
    assert set(mouse.statistics) == {
        "images_mean",
        "images_std",
        "responses_mean",
        "responses_std",
    }
    assert "24 neurons, 40 train, 12 validation, 11 test, 7 final_test" in repr(mouse)
    assert "without behaviour" in repr(mouse)


# ---- names and datasets ----


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    paths = [
        tiny.write(folder, tiny.arrays(seed=s, neurons=n), m)
        for s, n, m in ((1, 24, "8-1-1"), (2, 10, "9-1-1"))
    ]
    return kit.load(paths, folder=folder / "data")


def test_a_dataset_of_two_mice(two):
    assert list(two) == ["8-1-1", "9-1-1"]
    assert len(two) == 2
    assert two["9-1-1"].mouse == "9-1-1"
    assert {m: c.shape for m, c in two.neurons.items()} == {"8-1-1": (24, 3), "9-1-1": (10, 3)}
    assert tuple(two.image_size) == (36, 64)
    assert "8-1-1" in two
    assert "mouse 8-1-1: 24 neurons" in repr(two)
    assert "mouse 9-1-1: 10 neurons" in repr(two)
    with pytest.raises(ValueError, match=r"there are 2 mice here; choose one, for example data\["):
        _ = two.mouse
    with pytest.raises(KeyError, match=r"no mouse '1-2-3' here; there is 8-1-1, 9-1-1"):
        two["1-2-3"]


def test_recordings_are_read_only(two):
    mouse = two["8-1-1"]
    with pytest.raises(TypeError):
        two["8-1-1"] = mouse
    with pytest.raises(dataclasses.FrozenInstanceError):
        mouse.responses = np.zeros((70, 24))
    for field in dataclasses.fields(mouse):
        value = getattr(mouse, field.name)
        if isinstance(value, np.ndarray):
            assert not value.flags.writeable
            with pytest.raises(ValueError):
                value[:1] = value[:1]


@pytest.mark.parametrize(
    "name, said",
    [
        ("sampel", "did you mean 'sample'"),
        ("Sensorium+", "did you mean 'sensorium"),
        ("sensorium_plus", "did you mean 'sensorium"),
        ("27204-5-1", "did you mean '27204-5-13'"),
        ("no/such/file.zip", "nor a file or folder; "),
    ],
)
def test_an_unknown_name_is_answered_with_those_that_are_known(tmp_path, name, said):
    with pytest.raises(ValueError) as caught:
        kit.load(name, folder=tmp_path)
    assert repr(name) in str(caught.value)
    assert said in str(caught.value)
    assert "sample, sample+, sample-pretrain, sensorium, sensorium+, pretrain, all" in str(
        caught.value
    )


def test_lists_of_names(source, tmp_path):
    with pytest.raises(ValueError, match="names no recording"):
        kit.load([], folder=tmp_path)
    assert len(kit.load([source, str(source)], folder=tmp_path)) == 1  # named twice, opened once
    with zipfile.ZipFile(source) as archive:
        archive.extractall(tmp_path)
    with pytest.raises(ValueError, match=r"mouse 7-1-1 is in both .*\.zip and "):
        kit.load([source, tmp_path / TOP], folder=tmp_path)


def test_a_path_is_opened_from_any_working_folder(source, mouse, tmp_path, monkeypatch):
    monkeypatch.chdir(source.parent)
    relative = kit.load(source.name, folder=tmp_path).mouse
    monkeypatch.chdir(tmp_path)
    same(relative, mouse)
    same(kit.load(source, folder=tmp_path).mouse, mouse)
    assert len(list((tmp_path / "packed").iterdir())) == 1
