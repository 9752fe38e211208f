"""Attacks on a public recording: what its bytes tell about what is withheld, and when.

Each test fails if one part of `kit.withhold` is taken away. Many trials, or several draws, make
chance small where an order is tested; seeds make it the same chance every time.
"""

import csv
import hashlib
import io
import json
import random
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import tiny
import withheld
from withheld import open_mouse

import kit

HIDDEN = ("test", "final_test")
FEW = {"neurons": 8, "tiers": {"train": 12, "validation": 4}, "test": {"test": (2,) * 6}}


def make(arrays, folder, config=None, **options):
    """Withhold from arrays and return the folder."""
    kit.withhold(withheld.load(arrays, folder / "source", **options), folder / "out", config)
    return folder / "out"


def coarse(arrays):
    """The same values with few digits, which survive any scaling in float32 and back."""
    few = {kind: np.round(arrays[kind] * 64) / 64 for kind in ("behavior", "pupil_center")}
    return arrays | few | {"responses": np.round(arrays["responses"] * 64).astype("f4") / 64}


def original(out, column):
    """A column of the key: the row, trial id or image id of each public trial."""
    with (out / "private" / "key.csv").open(newline="") as file:
        return np.array([int(line[column]) for line in csv.DictReader(file)])


def rank_correlation(one, other):
    ranks = [np.unique(values, return_inverse=True)[1] for values in (one, other)]
    return np.corrcoef(ranks)[0, 1]


@pytest.fixture(scope="module")
def draws(folder):
    """Twelve challenges from one recording, each drawn by the operating system."""
    mouse = withheld.load(open_mouse(), folder / "original", size=(18, 32))
    for draw in range(12):
        kit.withhold(mouse, folder / "draws" / str(draw))
    return [folder / "draws" / str(draw) for draw in range(12)]


def assert_no_order(draws, values):
    """Over all draws, two values of each trial have a rank correlation around 0.

    values: from a challenge's folder to two arrays. Its mean over 12 draws of 72 trials has a std
    of .034, over the 58 images of .038; a trace of the order would show in every draw.
    """
    found = [rank_correlation(*values(out)) for out in draws]
    assert abs(np.mean(found)) < 0.2, found


# ---- withheld numbers ----


@pytest.mark.parametrize("track", ["sensorium", "sensorium+"])
def test_no_withheld_number_is_in_any_member(tmp_path, track):
    """Withheld responses lie where no public number does: from 3,000 to 9,000."""
    arrays = open_mouse(**FEW)
    hidden = arrays["tiers"] == "test"
    loud = np.random.default_rng(3).uniform(3000, 9000, arrays["responses"].shape)
    arrays["responses"] = np.where(hidden[:, None], loud, arrays["responses"]).astype("f4")
    out = make(arrays, tmp_path, kit.WithholdConfig(track, seed=1), seen=~hidden)
    raw = arrays["responses"][hidden].astype(float)
    divided = raw / arrays["responses"][~hidden].std(0)
    secrets = np.sort(np.concatenate([raw.ravel(), divided.ravel()]))
    files = withheld.public_zip(out).read_bytes()
    with zipfile.ZipFile(withheld.public_zip(out)) as archive:
        files += b"".join(map(archive.read, archive.namelist()))
    for kind in ("<f4", ">f4", "<f8", ">f8"):
        assert not any(secret.tobytes() in files for secret in secrets.astype(kind)), kind
    for name, array in withheld.members(out).items():
        if array.dtype.kind in "biuf":
            values = np.abs(array.astype(float)).ravel()
            after = secrets.searchsorted(values).clip(1, len(secrets) - 1)
            gap = np.minimum(np.abs(secrets[after] - values), np.abs(secrets[after - 1] - values))
            assert (gap > 1e-6 * values).all() or not values.any(), name


def test_withheld_trials_are_zeros_to_the_bit(draws):
    for out in draws[:2]:
        members = withheld.members(out)
        hidden = np.isin(members["meta/trials/tiers"], HIDDEN)
        assert hidden.sum() == 20
        for trial, secret in enumerate(hidden):
            values = members[f"data/responses/{trial}"]
            assert (values.dtype, values.shape) == (np.float32, (24,))
            assert (values.tobytes() == bytes(4 * 24)) == secret  # neither -0.0 nor NaN


# ---- statistics and rounding ----


def test_statistics_are_of_public_tiers(tmp_path):
    out = make(open_mouse(), tmp_path)
    members = withheld.members(out)
    public = np.flatnonzero(~np.isin(members["meta/trials/tiers"], HIDDEN))
    for kind in ("images", "responses", "behavior", "pupil_center"):
        values = np.stack([members[f"data/{kind}/{trial}"] for trial in public]).astype(float)
        axis = None if kind == "images" else 0
        for name in ("mean", "std", "median", "min", "max"):
            expected = getattr(np, name)(values, axis)
            found = members[f"meta/statistics/{kind}/all/{name}"]
            np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=f"{kind} {name}")


def test_public_folder_does_not_depend_on_withheld_responses(tmp_path):
    """Not even by the std that the original file divides by, which is one of all trials."""
    arrays = coarse(open_mouse())
    other = arrays["responses"].copy()
    other[arrays["tiers"] == "test"] *= 3
    config = kit.WithholdConfig(seed=4)
    one, two = [
        make(arrays | {"responses": responses}, tmp_path / name, config)
        for name, responses in (("one", arrays["responses"]), ("two", other))
    ]
    for path in (one / "public").iterdir():
        assert path.read_bytes() == (two / "public" / path.name).read_bytes(), path.name
    truths = [(out / "private" / "ground_truth_file_test.csv").read_bytes() for out in (one, two)]
    assert truths[0] != truths[1]


def share_of_products(values, std):
    quotients = (values / std).astype("f4")
    return np.mean((quotients.astype(float) * std).astype("f4") == values)


def train_responses(out):
    """(T, N)"""
    members = withheld.members(out)
    trials = np.flatnonzero(members["meta/trials/tiers"] == "train")
    return np.stack([members[f"data/responses/{trial}"] for trial in trials])


def test_rounding_does_not_tell_the_std_of_all_trials(tmp_path):
    """float32 values that were divided by a std and multiplied again show by which one."""
    out = make(open_mouse(neurons=3, tiers={"train": 900, "validation": 4}), tmp_path,
               size=(9, 16))  # fmt: skip
    values = train_responses(out)
    std = kit.load(tmp_path / "source" / "static7-1-1-GrayImageNet-tiny.zip", (9, 16),
                   tmp_path / "source" / "data").mouse.statistics["responses_std"]  # fmt: skip
    divided = np.float32(values[:, 0] * 1.000001) / std[0] * std[0]
    steps = std[0].astype(float) * (1 + np.arange(-40, 41) * 2e-6)
    assert np.argmax([share_of_products(divided, s) for s in steps]) == 40  # the attack works
    for neuron in range(3):
        steps = std[neuron].astype(float) * (1 + np.arange(-40, 41) * 2e-6)
        shares = [share_of_products(values[:, neuron], step) for step in steps]
        assert np.argmax(shares) != 40
    assert (values.view(np.uint32) & 0xFF == 0).all()  # 16 of the 24 bits


def test_rounding_goes_up_or_down_by_chance(tmp_path):
    """If a value half-way between two of 16 bits always went one way, this would tell the std."""
    arrays = open_mouse(neurons=3, tiers={"train": 900, "validation": 4})
    halfway = 1 + 2.0**-16  # 16 bits of numbers from 1 to 2 are steps of 2^-15
    arrays["responses"][arrays["tiers"] == "train"] = [halfway, halfway, 1]
    out = make(arrays, tmp_path, kit.WithholdConfig(seed=1), size=(9, 16))
    values = train_responses(out)
    up = values > 1
    assert set(values[:, :2].ravel() - 1) == {0, 2.0**-15}
    np.testing.assert_allclose(up.mean(0), [0.5, 0.5, 0], atol=0.08)
    assert abs(np.corrcoef(up[:, 0], up[:, 1])[0, 1]) < 0.15


def test_public_zip_does_not_depend_on_types_of_the_original(tmp_path):
    arrays = coarse(open_mouse())
    others = {"f4": ("behavior", "pupil_center", "frame_image_id"), "f8": ("responses", "images")}
    changed = dict(arrays)
    for kind, names in others.items():
        changed |= {name: arrays[name].astype(kind) for name in names}
    changed["tiers"] = arrays["tiers"].astype("<U40")
    changed["trial_idx"] = np.array([f"trial-{i}" for i in arrays["trial_idx"]])
    config = kit.WithholdConfig(seed=4)
    one, two = [
        withheld.public_zip(make(values, tmp_path / name, config)).read_bytes()
        for name, values in (("one", arrays), ("two", changed))
    ]
    assert one == two


# ---- order ----


MARKS = ["date_time", "create_system", "create_version", "extract_version", "flag_bits", "extra",
         "external_attr", "internal_attr", "comment", "compress_type"]  # fmt: skip


def test_members_tell_no_order(draws):
    """Dates, systems, permissions, extra fields, comments and compression are the same for all."""
    for out in draws:
        with zipfile.ZipFile(withheld.public_zip(out)) as archive:
            infos = archive.infolist()
            assert archive.comment == b""
        names = [info.filename.partition("/")[2] for info in infos]
        for kind in ("images", "responses", "behavior", "pupil_center"):
            here = [info for info, name in zip(infos, names, strict=True)
                    if name.startswith(f"data/{kind}/")]  # fmt: skip
            numbers = [info.filename.rpartition("/")[2] for info in here]
            assert numbers == [f"{trial}.npy" for trial in range(72)]
            for mark in MARKS:
                assert len({getattr(info, mark) for info in here}) == 1, mark
            if kind != "images":  # these are public, and compressed
                assert len({info.compress_size for info in here}) == 1


def numbers(out):
    return np.arange(len(original(out, "row")))


def image_sizes(out):
    with zipfile.ZipFile(withheld.public_zip(out)) as archive:
        return np.array([info.compress_size for info in archive.infolist()[:72]])


@pytest.mark.parametrize("column", ["row", "original_trial"])
def test_order_of_trials_is_random(draws, column):
    """Against the files of the original, and against the order of presentation."""
    assert_no_order(draws, lambda out: (numbers(out), original(out, column)))
    assert_no_order(draws, lambda out: (image_sizes(out), original(out, column)))
    steps = [np.abs(np.diff(original(out, column))) for out in draws]
    assert np.mean([(step <= 1).mean() for step in steps]) < 0.08  # 2 in 72 by chance


def test_order_of_trials_does_not_depend_on_tier(draws):
    assert_no_order(draws, lambda out: (numbers(out), np.isin(ids(out, "tiers"), HIDDEN)))


# ---- ids ----


def ids(out, name):
    with zipfile.ZipFile(withheld.public_zip(out)) as archive:
        content = archive.read(f"{withheld.public_zip(out).stem}/meta/trials/{name}.npy")
    return np.load(io.BytesIO(content))


def test_trial_ids_are_random(draws):
    every = [trial for out in draws for trial in ids(out, "trial_idx").tolist()]
    assert len(set(every)) == len(every)
    assert all(len(trial) == 32 and set(trial) <= set("0123456789abcdef") for trial in every)
    for column in ("row", "original_trial"):
        assert_no_order(draws, lambda out: (ids(out, "trial_idx"), original(out, column)))  # noqa: B023
    assert_no_order(draws, lambda out: (ids(out, "trial_idx"), numbers(out)))
    assert_no_order(draws, lambda out: (ids(out, "trial_idx"), ids(out, "frame_image_id")))


def test_trial_ids_are_no_hashes(draws):
    """Of a number, of a number with the mouse's or an image's id, of an image."""
    guesses = set()
    texts = [f"{start}{i}" for i in range(3000) for start in ("", "7-1-1", "7-1-1-", "7-1-1_")]
    arrays = open_mouse()
    texts += [f"{i}{mark}{image}" for i in range(72) for image in set(arrays["frame_image_id"])
              for mark in ("", "-", "_")]  # fmt: skip
    contents = [text.encode() for text in texts]
    contents += [i.to_bytes(size, order) for i in range(72) for size in (1, 2, 4, 8)
                 for order in ("little", "big")]  # fmt: skip
    contents += [image.tobytes() for image in arrays["images"]]
    for content in contents:
        for method in (hashlib.md5, hashlib.sha1, hashlib.sha256, hashlib.blake2b):
            guesses.add(method(content).hexdigest()[:32])
            guesses.add(method(content).hexdigest()[-32:])
    for out in draws:
        assert not guesses & set(ids(out, "trial_idx").tolist())


def test_image_ids_are_random(draws):
    """Distinct, new in each draw, and in no order: of the original's ids, time or tier."""

    def first(out, values):
        """A value of each image, at the first of its trials that has been shown."""
        time = original(out, "original_trial")
        order = np.argsort(time)
        images, place = np.unique(ids(out, "frame_image_id")[order], return_index=True)
        return images, np.asarray(values)[order][place]

    for name in ("original_image", "original_trial", "row"):
        assert_no_order(draws, lambda out: first(out, original(out, name)))  # noqa: B023
    assert_no_order(draws, lambda out: first(out, np.isin(ids(out, "tiers"), HIDDEN)))
    assert_no_order(draws, lambda out: first(out, numbers(out)))
    sets = [set(ids(out, "frame_image_id").tolist()) for out in draws]
    assert {len(each) for each in sets} == {58}
    assert len(sets[0] & sets[1]) < 2  # none, but for one chance in 30,000
    for out in draws:  # nor the same for all images but for a sum or a factor
        ours, theirs = ids(out, "frame_image_id"), original(out, "original_image")
        assert len(set(ours - theirs)) > 50 and len(set(ours / theirs)) > 50


# ---- randomness ----


def signature(out):
    return ids(out, "trial_idx").tolist(), ids(out, "frame_image_id").tolist()


def test_draws_do_not_depend_on_global_random_states(tmp_path):
    mouse = withheld.load(open_mouse(**FEW), tmp_path / "source", size=(18, 32))
    found, states = [], []
    for name in ("one", "two"):
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        kit.withhold(mouse, tmp_path / name)
        found.append(signature(tmp_path / name))
        states.append((random.random(), np.random.random()))  # noqa: NPY002
    assert found[0][0] != found[1][0] and found[0][1] != found[1][1]
    assert states[0] == states[1]  # and they are left as they were


def test_no_seed_can_be_guessed(tmp_path):
    mouse = withheld.load(open_mouse(**FEW), tmp_path / "source", size=(18, 32))
    kit.withhold(mouse, tmp_path / "secret")
    secret = signature(tmp_path / "secret")
    for seed in range(51):
        kit.withhold(mouse, tmp_path / str(seed), kit.WithholdConfig(seed=seed))
        found = signature(tmp_path / str(seed))
        assert not set(found[0]) & set(secret[0])
        assert len(set(found[1]) & set(secret[1])) < 2
    kit.withhold(mouse, tmp_path / "again", kit.WithholdConfig(seed=50))
    files = [(tmp_path / name / "public").iterdir() for name in ("again", "50")]
    for one, two in zip(*map(sorted, files), strict=True):
        assert one.read_bytes() == two.read_bytes()  # as lessons need it


# ---- behaviour ----


@pytest.fixture(scope="module")
def sample(folder):
    """The public recording of a sample mouse for each track, and when each trial was shown."""
    mouse = kit.load("99003-1-1").mouse
    found = {}
    for track in ("sensorium", "sensorium+"):
        out = folder / track
        public, _ = kit.withhold(mouse, out, kit.WithholdConfig(track, seed=1))
        time = kit.truth("99003-1-1").order[original(out, "row")]
        found[track] = kit.load(public, folder=out).mouse, time, withheld.members(out)
    return found


def neighbours(features, time, hidden):
    """Share of hidden trials whose most similar trial was shown within 1, and within 5, of it."""
    features = (features - features.mean(0)) / features.std(0)
    steps = []
    for trial in np.flatnonzero(hidden):
        distance = ((features - features[trial]) ** 2).sum(1)
        distance[trial] = np.inf
        steps.append(abs(time[distance.argmin()] - time[trial]))
    return np.mean(np.array(steps) <= 1), np.mean(np.array(steps) <= 5)


def test_behavior_tells_neighbours_as_the_docstring_says(sample):
    mouse, time, _ = sample["sensorium+"]
    hidden = np.isin(mouse.tiers, HIDDEN)
    features = np.column_stack([mouse.behavior[:, [0, 2]], mouse.pupil_center])
    one, five = neighbours(features, time, hidden)
    assert f"{one:.0%}, within 5 for {five:.0%}".replace("%", " %") == "15 %, within 5 for 21 %"
    said = " ".join(kit.withhold.__doc__.split())
    assert "within 1 trial of a withheld one for 15 % of them, and within 5 for 21 %" in said
    chance = [2 / (len(time) - 1), 10 / (len(time) - 1)]
    assert [f"{share:.1%}" for share in chance] == ["0.1%", "0.4%"]
    assert "by chance 0.1 % and 0.4 %" in said


def test_track_without_behavior_tells_no_neighbours(sample):
    mouse, time, members = sample["sensorium"]
    assert mouse.behavior is None and mouse.pupil_center is None
    for name, array in members.items():
        if "/behavior/" in name or "/pupil_center/" in name:
            assert array.tobytes() == bytes(array.nbytes), name
    hidden = np.isin(mouse.tiers, HIDDEN)
    features = {  # all else that a trial has
        "number": np.arange(len(time))[:, None],
        "trial id": np.array([int(trial[:12], 16) for trial in mouse.trial_ids])[:, None],
        "brightness and contrast": np.stack(
            [mouse.images.mean((1, 2, 3)), mouse.images.std((1, 2, 3))], axis=1
        ),
    }
    for name, values in features.items():
        assert neighbours(values.astype(float), time, hidden)[1] < 0.02, name  # .004 by chance


# ---- what else lies there ----


def test_public_files_are_those_of_the_layout(draws):
    """No time stamps, and nothing of the original that entrants do not need."""
    with zipfile.ZipFile(withheld.public_zip(draws[0])) as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}
    kinds = ("images", "responses", "behavior", "pupil_center")
    assert names == {
        *(f"data/{kind}/{trial}.npy" for kind in kinds for trial in range(72)),
        *(f"meta/statistics/{kind}/all/{name}.npy" for kind in kinds
          for name in ("mean", "std", "median", "min", "max")),
        "meta/neurons/unit_ids.npy", "meta/neurons/cell_motor_coordinates.npy",
        "meta/trials/tiers.npy", "meta/trials/trial_idx.npy", "meta/trials/frame_image_id.npy",
    }  # fmt: skip


def test_original_ids_are_in_no_public_file(tmp_path):
    arrays = tiny.arrays(test={"test": (2,) * 6})
    arrays["frame_image_id"] = arrays["frame_image_id"] + 7_000_000_000_000
    out = make(arrays, tmp_path, kit.WithholdConfig(mouse="9-9-9", seed=1))
    secrets = [trial.encode(kind) for trial in arrays["trial_idx"] for kind in ("ascii", "utf-32")]
    secrets += [int(image).to_bytes(8, "little") for image in set(arrays["frame_image_id"])]
    secrets += [b"7-1-1", str(tmp_path).encode(), b"seed", b"original"]
    for path in (out / "public").iterdir():
        content = path.read_bytes()
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                content += b"".join(map(archive.read, archive.namelist()))
        assert not any(secret in content for secret in secrets), path.name


def test_croissant_tells_what_the_zip_does(draws):
    for out in draws[:2]:
        text = (out / "public" / "croissant.json").read_text()
        assert not any(trial in text for trial in ids(out, "trial_idx"))
    one, two = [json.loads((out / "public" / "croissant.json").read_text()) for out in draws[:2]]
    for described in (one, two):
        described["distribution"][0]["sha256"] = described["distribution"][0]["contentSize"] = ""
    one["description"] = two["description"] = ""  # has the number of trials of each test set
    assert one == two


def test_train_trials_of_a_test_image_are_refused(tmp_path):
    """Their responses would be an answer: also where they have another id, or tier."""
    mouse = withheld.load(open_mouse(), tmp_path / "source", size=(18, 32))
    trial = mouse.rows("test")[0]
    for tier in ("train", "validation"):
        tiers = mouse.tiers.copy()
        tiers[trial] = tier
        with pytest.raises(ValueError, match=f"also shown in tier '{tier}'"):
            kit.withhold(replace(mouse, tiers=tiers), tmp_path / "out")
    tiers = mouse.tiers.astype("<U10")
    tiers[trial] = "unused"
    kit.withhold(replace(mouse, tiers=tiers), tmp_path / "out")
