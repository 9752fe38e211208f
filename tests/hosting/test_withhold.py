"""A challenge of one's own: what becomes public, the truth in its units, and what is refused."""

import csv
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import tiny
import withheld
from withheld import open_mouse

import kit
from kit.challenge.tracks import SUBMISSION_FILES, TRUTH_FILES
from kit.hosting import croissant, publish


@pytest.fixture(scope="module")
def arrays():
    arrays = open_mouse()
    arrays["responses"][:, 4] *= 1e-6  # a neuron that is all but silent
    return arrays


@pytest.fixture(scope="module")
def mouse(arrays, folder):
    return withheld.load(arrays, folder / "source", size=(144, 256))


@pytest.fixture(scope="module")
def challenge(mouse, folder):
    """The public recording as entrants load it, and the private folder."""
    public, private = kit.withhold(mouse, folder / "challenge", kit.WithholdConfig(seed=1))
    return kit.load(public, folder=folder / "entrant"), private


def rows_of(private):
    """The row of the original recording of each public trial, from the key."""
    with (private / "key.csv").open(newline="") as file:
        return np.array([int(line["row"]) for line in csv.DictReader(file)])


def public_units(arrays):
    """Responses (T, N) divided by the std of train and validation, with the floor of 1 %."""
    seen = np.isin(arrays["tiers"], ["train", "validation"])
    std = arrays["responses"][seen].astype(float).std(0)
    return arrays["responses"] / np.maximum(std, 0.01 * std.mean())


# ---- what is written ----


def test_withhold_writes_two_folders(mouse, tmp_path):
    config = kit.WithholdConfig(mouse="9-8-7", license="CC0-1.0")
    public, private = kit.withhold(mouse, tmp_path / "mine", config)
    assert public == tmp_path / "mine" / "public" / "static9-8-7-GrayImageNet-withheld.zip"
    assert private == tmp_path / "mine" / "private"
    assert {path.name for path in public.parent.iterdir()} == {public.name, "croissant.json"}
    files = {*TRUTH_FILES.values(), "key.csv", "track.txt"}
    assert {path.name for path in private.iterdir()} == files
    described = json.loads((public.parent / "croissant.json").read_text())
    assert described["distribution"][0]["sha256"] == kit.files.file_sha256(public)
    assert described["license"] == "CC0-1.0"
    assert {path.name for path in public.parents[1].iterdir()} == {"public", "private"}
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]  # nothing temporary
    if sys.platform != "win32":
        assert private.stat().st_mode & 0o077 == 0  # nobody else may open it


def test_withhold_public_recording(challenge, arrays):
    data, private = challenge
    public, rows = data.mouse, rows_of(private)
    assert sorted(rows) == list(range(len(arrays["tiers"])))
    for tier in SUBMISSION_FILES:
        assert public.withheld(tier)
    seen = np.isin(arrays["tiers"], ["train", "validation"])
    np.testing.assert_array_equal(public.tiers[seen[rows]], arrays["tiers"][rows][seen[rows]])
    np.testing.assert_array_equal(public.unit_ids, arrays["unit_ids"])
    np.testing.assert_array_equal(public.coordinates, arrays["cell_motor_coordinates"])
    expected = public_units(arrays)[rows][seen[rows]]
    np.testing.assert_allclose(public.responses[seen[rows]], expected, rtol=5e-5)


def test_withhold_raw_values(challenge, arrays, folder):
    """Pixels are the bytes of the original, behaviour and eye position the same to 5 digits."""
    rows = rows_of(challenge[1])
    members = withheld.members(folder / "challenge")
    for trial, row in enumerate(rows):
        image = members[f"data/images/{trial}"]
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, arrays["images"][row])
        for kind in ("behavior", "pupil_center"):
            found = members[f"data/{kind}/{trial}"]
            np.testing.assert_allclose(found, arrays[kind][row], atol=2e-4)


def test_withhold_repeats_share_an_image_id(challenge, arrays):
    public, rows = challenge[0].mouse, rows_of(challenge[1])
    _, ours = np.unique(public.image_ids, return_inverse=True)
    _, theirs = np.unique(arrays["frame_image_id"][rows], return_inverse=True)
    assert len(set(zip(ours, theirs, strict=True))) == len(set(ours)) == len(set(theirs))


def test_withhold_splits_images_of_the_test_tier(challenge, arrays):
    public, rows = challenge[0].mouse, rows_of(challenge[1])
    live, final = [set(public.image_ids[public.rows(tier)]) for tier in SUBMISSION_FILES]
    assert len(live) == len(final) == 3 and not live & final
    tested = np.isin(public.tiers, list(SUBMISSION_FILES))
    np.testing.assert_array_equal(tested, arrays["tiers"][rows] == "test")


def withhold(recording, folder, **settings):
    """The public recording, and the row in the original one of each of its trials."""
    public, private = kit.withhold(recording, folder / "mine", kit.WithholdConfig(**settings))
    return kit.load(public, folder=folder).mouse, rows_of(private)


def test_withhold_final_share(tmp_path):
    mouse = withheld.load(open_mouse(test={"test": (2,) * 10}), tmp_path / "source")
    public, _ = withhold(mouse, tmp_path, final_share=0.3)
    assert (len(public.rows("test")), len(public.rows("final_test"))) == (14, 6)


def test_withhold_keeps_two_test_tiers(tmp_path):
    arrays = tiny.arrays(test={"test": (4, 4, 3), "final_test": (4, 3, 2)})
    public, rows = withhold(withheld.load(arrays, tmp_path / "source"), tmp_path)
    np.testing.assert_array_equal(public.tiers, arrays["tiers"][rows])


def test_withhold_leaves_out_unused_trials(mouse, tmp_path):
    public, rows = withhold(mouse.subset(7), tmp_path)
    assert len(public.rows("train")) == 7
    assert (mouse.subset(7).tiers[rows] != "unused").all()


def test_withhold_images_that_are_not_whole_numbers(tmp_path):
    arrays = open_mouse()
    arrays["images"] = arrays["images"] / 3 - 20
    mouse = withheld.load(arrays, tmp_path / "source", size=(144, 256))
    _, rows = withhold(mouse, tmp_path)
    members = withheld.members(tmp_path / "mine")
    images = np.stack([members[f"data/images/{trial}"] for trial in range(len(rows))])
    np.testing.assert_allclose(images, arrays["images"][rows], atol=1e-3)


def test_withhold_draws_the_same_for_images_of_any_size(challenge, arrays, tmp_path):
    """A seed does not depend on pixels, whose last digits differ between processors."""
    mouse = withheld.load(arrays, tmp_path / "source", size=(18, 32))
    public, private = kit.withhold(mouse, tmp_path / "mine", kit.WithholdConfig(seed=1))
    assert withheld.members(tmp_path / "mine")["data/images/0"].shape == (1, 18, 32)
    assert kit.load(public, (18, 32), tmp_path).image_size == (18, 32)
    assert (private / "key.csv").read_bytes() == (challenge[1] / "key.csv").read_bytes()


def test_withhold_key(challenge, arrays):
    data, private = challenge
    with (private / "key.csv").open(newline="") as file:
        key = list(csv.DictReader(file))
    rows = rows_of(private)
    expected = {
        "trial_indices": data.mouse.trial_ids,
        "image_ids": data.mouse.image_ids,
        "tier": data.mouse.tiers,
        "original_trial": arrays["trial_idx"][rows],
        "original_image": arrays["frame_image_id"][rows],
    }
    for column, values in expected.items():
        assert [line[column] for line in key] == values.astype(str).tolist()


# ---- the truth ----


def test_truth_is_in_units_of_the_public_std(challenge, arrays, tmp_path):
    """The silent neuron too, whose std is floored at 1 % of the mean std."""
    data, private = challenge
    expected = public_units(arrays)[rows_of(private)]
    for tier, name in TRUTH_FILES.items():
        truth = kit.challenge.grading.read_ground_truth(private / name)
        assert truth.trials == data.mouse.trial_ids[data.mouse.rows(tier)].tolist()
        assert list(map(int, truth.images)) == data.mouse.image_ids[data.mouse.rows(tier)].tolist()
        found = truth.responses[:, np.argsort(np.argsort(data.mouse.unit_ids))]
        np.testing.assert_allclose(found, expected[data.mouse.rows(tier)], rtol=5e-5)


def test_withhold_records_the_track_that_is_given_or_the_recordings(mouse, tmp_path):
    blind = replace(mouse, behavior=None, pupil_center=None)
    cases = [
        (mouse, None, "sensorium+"),
        (blind, None, "sensorium"),
        (mouse, "sensorium", "sensorium"),
    ]
    for case, (recording, track, expected) in enumerate(cases):
        _, private = kit.withhold(recording, tmp_path / str(case), kit.WithholdConfig(track))
        for name in TRUTH_FILES.values():
            assert kit.challenge.read_ground_truth(private / name).track == expected


# ---- all or nothing ----


def test_withhold_never_replaces(mouse, tmp_path, monkeypatch):
    kit.withhold(mouse, tmp_path / "mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    with pytest.raises(FileExistsError, match="mine exists already and is never replaced; name a"):
        kit.withhold(mouse, tmp_path / "mine")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
    monkeypatch.setattr(publish, "_require_possible", lambda *_: 1 / 0)  # reads all values
    with pytest.raises(FileExistsError, match="exists already"):
        kit.withhold(mouse, tmp_path / "mine")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(FileExistsError, match="exists already"):
        kit.withhold(mouse, tmp_path / "link")


@pytest.mark.parametrize("step", ["write_public", "write_croissant", "write_rows", "_write_key"])
def test_withhold_that_fails_leaves_nothing(mouse, tmp_path, monkeypatch, step):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publish, step, full)
    with pytest.raises(OSError, match="mine cannot be written: no space left"):
        kit.withhold(mouse, tmp_path / "mine")
    assert list(tmp_path.iterdir()) == []


def test_private_folder_is_of_its_owner_alone_and_leaves_nothing(tmp_path):
    with publish.private_folder(tmp_path / "new" / "mine") as folder:
        assert folder.parent == tmp_path / "new" and folder.name.startswith(".mine.part-")
        if sys.platform != "win32":
            assert folder.stat().st_mode & 0o077 == 0
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"mine cannot be written: .*name another place"):
        publish.private_folder(tmp_path / "file" / "mine").__enter__()
    with pytest.raises(OSError) as error, publish.private_folder(tmp_path / "mine") as folder:
        raise OSError(f"{folder / 'packed'} cannot be written")
    assert str(error.value) == f"{tmp_path / 'mine' / 'packed'} cannot be written"


def test_withhold_writes_nothing_into_the_recording(mouse, folder, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in (folder / "source").rglob("*")}
    kit.withhold(mouse, tmp_path / "mine")
    assert {path: path.stat().st_mtime_ns for path in (folder / "source").rglob("*")} == before


# ---- what is refused ----


def of_a_test_trial(name):
    """Arrays in which train trials have the pixels, or the image id, of a test trial."""
    arrays = open_mouse()
    values, tiers = arrays[name].copy(), arrays["tiers"]
    values[np.flatnonzero(tiers == "train")[0]] = values[np.flatnonzero(tiers == "test")[0]]
    return arrays | {name: values}


RECORDINGS = {
    "five test images": (lambda: open_mouse(test={"test": (4,) * 5}),
                         "would have 2 images and 8 trials; .* or twice as many to be split"),
    "two live images": (lambda: tiny.arrays(test={"test": (4, 4), "final_test": (4,) * 3}),
                        "tier 'test' would have 2 images and 8 trials; a test set needs 3 images"),
    "no repeats": (lambda: open_mouse(test={"test": (1,) * 8}),
                   "would have 4 images and 4 trials; .*, and repeats"),
    "no test tier": (lambda: open_mouse(test={}), "has no tier 'test'; its tiers are train, vali"),
    "no train tier": (lambda: open_mouse(tiers={"validation": 9}), "has no tier 'train'"),
    "no validation": (lambda: open_mouse(tiers={"train": 9}), "has no tier 'validation'"),
    "a test picture in train": (lambda: of_a_test_trial("images"),
                                "images of tier '(final_)?test' are also shown in tier 'train'"),
    "its id in train": (lambda: of_a_test_trial("frame_image_id"),
                        "image id .* has different pixels in several trials; give each picture"),
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDINGS)
def test_withhold_refuses_recordings(tmp_path, name):
    make, message = RECORDINGS[name]
    mouse = withheld.load(make(), tmp_path / "source", size=(18, 32))
    with pytest.raises(ValueError, match=message) as caught:
        kit.withhold(mouse, tmp_path / "mine")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "mine").exists()


def spoiled(mouse, kind, value):
    values = getattr(mouse, kind).copy()
    values[np.flatnonzero(mouse.tiers == "train")[1], 0] = value
    return {kind: values}


VALUES = {
    "NaN in behavior": (lambda mouse: spoiled(mouse, "behavior", np.nan), "behavior of trial "),
    "inf in an image": (lambda mouse: spoiled(mouse, "images", np.inf), "images of trial "),
    "NaN in train": (lambda mouse: spoiled(mouse, "responses", np.nan), "responses of trial "),
    "a negative response": (lambda mouse: spoiled(mouse, "responses", -1),
                            "are withheld, negative or not finite; put in the true ones"),
    "a neuron twice": (lambda mouse: {"unit_ids": np.zeros_like(mouse.unit_ids)},
                       "unit_ids.npy in .*mine/public/static7-1-1.* none repeated, of shape"),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_withhold_refuses_what_nobody_could_open(mouse, tmp_path, name):
    change, message = VALUES[name]
    with pytest.raises(ValueError, match=message) as caught:
        kit.withhold(replace(mouse, **change(mouse)), tmp_path / "mine")
    assert ".part-" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_withhold_replaces_nothing_that_comes_meanwhile(mouse, tmp_path, monkeypatch):
    """Another process, with the same name, is done first: its challenge stays, ours is an error."""
    other = []

    def write_croissant(path, *arguments):
        if not other:
            other.append(path)
            other[0] = kit.withhold(mouse, tmp_path / "mine")[0]
        return croissant.write_croissant(path, *arguments)

    monkeypatch.setattr(publish, "write_croissant", write_croissant)
    with pytest.raises(FileExistsError, match="mine exists already, and is never replaced; name"):
        kit.withhold(mouse, tmp_path / "mine", kit.WithholdConfig(mouse="8-1-1"))
    assert other[0].exists() and list(tmp_path.iterdir()) == [tmp_path / "mine"]


def test_withhold_refuses_withheld_responses(plus, tmp_path):
    with pytest.raises(ValueError, match=r"responses of trial \w+ of mouse 7-1-1 are withheld"):
        kit.withhold(plus.mouse, tmp_path / "mine")


def test_withhold_without_behavior(mouse, tmp_path):
    mouse = replace(mouse, pupil_center=None)
    with pytest.raises(
        ValueError, match=r"no pupil_center, .* give WithholdConfig.track=.sensorium"
    ):
        kit.withhold(mouse, tmp_path / "mine")
    public, _ = kit.withhold(mouse, tmp_path / "mine", kit.WithholdConfig("sensorium"))
    assert kit.load(public, folder=tmp_path).mouse.behavior is None


ARGUMENTS = {
    "a dataset": (lambda mouse: (kit.Dataset([mouse]), "x"), "not a Dataset; give kit.load"),
    "a path": (lambda mouse: ("sample+", "x"), "a Recording is needed, not a str; give kit.load"),
    "no statistics": (lambda mouse: (replace(mouse, statistics={}), "x"),
                      "no images and responses and behavior and pupil_center, or no statistics"),
    "no responses": (lambda mouse: (replace(mouse, responses=None), "x"), "has no responses, or"),
    "an odd mouse": (lambda mouse: (replace(mouse, mouse="a b"), "x"), "mouse='a b' is not plain"),
    "no path": (lambda mouse: (mouse, 7), "out='7' is not a path"),
    "a dict": (lambda mouse: (mouse, "x", {"seed": 1}), "is not possible; give a kit.WithholdConf"),
}  # fmt: skip


@pytest.mark.parametrize("name", ARGUMENTS)
def test_withhold_refuses_arguments(mouse, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    arguments, message = ARGUMENTS[name]
    with pytest.raises(ValueError, match=message):
        kit.withhold(*arguments(mouse))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"track": "sensorium++"}, "give one of sensorium, sensorium\\+ or None"),
     ({"final_share": 0}, "final_share=0 is not possible; give a number from 0.01"),
     ({"seed": -1}, "seed=-1 is not possible"),
     ({"mouse": "../x"}, r"mouse='\.\./x' is not plain; give up to 80 letters"),
     ({"mouse": "1-GrayImageNet"}, "is not plain"),
     ({"mouse": "a" * 81}, "is not plain"),
     ({"mouse": 7}, "mouse=7 is not possible; give a text or None"),
     ({"license": 7}, "license=7 is not possible; give a text or None"),
     ({"url": "example.org"}, "url='example.org' is not an address; begin it with https://"),
     ({"url": "https://a b"}, "url='https://a b' is not an address"),
     ({"date": ""}, "date='' is not a date"),
     ({"date": "soon"}, "date='soon' is not a date; give one such as 2027-06-30")],
)  # fmt: skip
def test_withhold_config_refuses(setting, message):
    with pytest.raises(ValueError, match=message):
        kit.WithholdConfig(**setting)
