"""The official layout: recordings in zips and folders, and damaged or hostile ones."""

import errno
import io
import os
import re
import shutil
import struct
import warnings
import zipfile
from unittest import mock

import numpy as np
import pytest
import tiny
from recording_files import (
    NEURONS,
    TOP,
    TRIALS,
    assert_same,
    encrypted,
    in_table,
    left_in,
    refused,
    relisted,
    unpack,
)
from tiny import npy

import kit


def header(text, data=b"", version=b"\x01\x00"):
    """An .npy file with any text for its header."""
    size = struct.pack("<H" if version == b"\x01\x00" else "<I", len(text))
    return b"\x93NUMPY" + version + size + text.encode() + data


UNREADABLE = "5.npy in .* cannot be read"
PROMISE = "{'descr': '<f8', 'fortran_order': False, 'shape': (%s), }\n"


images, responses, tiers = "data/images/5.npy", "data/responses/5.npy", "meta/trials/tiers.npy"
unit_ids, trial_ids = "meta/neurons/unit_ids.npy", "meta/trials/trial_idx.npy"
places, statistics = "meta/neurons/cell_motor_coordinates.npy", "meta/statistics"
DAMAGES = {
    "a trial missing": ({images: None}, "data/images in .* holds 69 files, expected 0.npy to 69"),
    "a gap in the numbers": (
        {images: None, "data/images/70.npy": npy(np.ones((1, 144, 256)))}, "holds 70 files"),
    "a number twice": (
        {"data/images/05.npy": npy(np.ones((1, 144, 256)))}, "data/images in .* holds 71 files"),
    "half of a folder missing": (
        {f"data/pupil_center/{i}.npy": None for i in range(TRIALS // 2)}, "pupil_center in .* 35"),
    "a meta file missing": (
        {unit_ids: None}, "unit_ids.npy in .* there is no such file; d"),
    "statistics missing": (
        {f"{statistics}/responses/all/std.npy": None}, "responses/all/std.npy in .* no such file"),
    "an array cut off": ({responses: npy(np.ones(24))[:-9]}, UNREADABLE),
    "a pickle": ({"data/behavior/5.npy": npy(np.array([{}]), allow_pickle=True)}, UNREADABLE),
    "a header that promises a terabyte": (
        {responses: header(PROMISE % "100000000000, 1", bytes(192))}, UNREADABLE),
    "a header that is code": ({responses: header("__import__('os')\n")}, UNREADABLE),
    "a header of negative size": ({responses: header(PROMISE % "-4, -6", bytes(192))}, UNREADABLE),
    "an unknown version of the format": (
        {responses: header(PROMISE % "24,", bytes(192), b"\x09\x00")}, UNREADABLE),
    "more bytes than the header says": ({responses: npy(np.ones(24)) + bytes(8)}, "does not fit"),
    "a header of open brackets": ({responses: header("(" * 60 + "\n")}, UNREADABLE),
    "a header of endless nothing": (
        {tiers: header((PROMISE % "10000000,").replace("<f8", "<U0"))}, "tiers.npy in .* cannot"),
    "a zip bomb": ({responses: npy(np.zeros(2_000_000))}, "5.npy in .* cannot be read: .*"),
    "a pointer of git-annex": (
        {responses: b"/annex/objects/SHA256E-s224--0123.npy\n"}, f"{UNREADABLE}.* get the c"),
    "another shape": ({responses: npy(np.ones(23))}, r"float64 of shape \(23,\), .* \(24,\)"),
    "text for numbers": ({responses: npy(np.full(24, "a"))}, r"holds <U1 .* must hold numbers"),
    "images without channel": (
        {"data/images/0.npy": npy(np.ones((144, 256)))}, r"\(144, 256\)"),
    "videos": (
        {"data/images/0.npy": npy(np.ones((14, 25, 30)))}, r"\(14, 25, 30\), .* and no video"),
    "videos in a folder of their own": (
        {"data/videos/0.npy": npy(np.ones((14, 25, 30)))}, "holds videos; give"),
    "an image without pixels": (
        {"data/images/0.npy": npy(np.ones((1, 0, 5)))}, r"\(1, 0, 5\), .* must hold one grey"),
    "an image of enormous size": (
        {"data/images/0.npy": npy(np.ones((1, 2000, 2000), np.uint8))}, "of up to 1024 pixels"),
    "too few trial ids": ({trial_ids: npy(np.arange(69))}, r"\(69,\), .*\(70,\)"),
    "trial ids twice": ({trial_ids: npy(np.zeros(70, int))}, "none repeated"),
    "trial ids with commas": (
        {trial_ids: npy(np.array([f"{i},1" for i in range(70)]))},
        "trial_idx.npy in .* must hold whole numbers or plain texts, none"),
    "image ids not finite": (
        {"meta/trials/frame_image_id.npy": npy(np.full(70, np.nan))}, "must hold finite numb"),
    "unit ids beyond all counting": (
        {unit_ids: npy(np.arange(24) + 2**60)},
        "unit_ids.npy in .* must hold whole numbers below"),
    "unit ids not whole": (
        {unit_ids: npy(np.arange(24) + 0.5)}, "must hold whole numbers below"),
    "no neurons": ({unit_ids: npy(np.zeros(0, int))}, r"int64 of shape \(0,\)"),
    "places that are text": (
        {places: npy(np.full((24, 3), "x"))},
        "cell_motor_coordinates.npy in .* must hold finite numbers"),
    "no tier that is known": (
        {tiers: npy(np.array(["Train\x1b[2J"] * 70))},
        r"'Train\\x1b\[2J' .*some of them train, validation, test, final_test"),
    "NaN in an image": ({images: npy(np.full((1, 144, 256), np.nan))}, "images/5.npy .* not fin"),
    "NaN in every trial": (
        {f"data/behavior/{i}.npy": npy(np.array([1, np.nan, 2])) for i in range(TRIALS)},
        "data/behavior/.*npy in .* holds NaN, .* or all of the tier .*leave this"),
    "negative responses": (
        {responses: npy(np.full(24, -3.0))}, "responses/5.npy in .* negative, .*dF/F, give deconv"),
    "names of other columns of behaviour": (
        {"meta/behavior/names.npy": npy(np.array(["running"]))}, r"\(3,\), .* of shape \(1,\)"),
    "names of behaviour twice": (
        {"meta/behavior/names.npy": npy(np.array(["a", "b", "b"]))}, "each once, up to 40 letters"),
    "names of behaviour that are numbers": (
        {"meta/behavior/names.npy": npy(np.arange(3))}, "names of the columns of behaviour"),
    "names of behaviour that move the cursor": (
        {"meta/behavior/names.npy": npy(np.array(["a", "b", "c\x1b[2J"]))}, "columns of behaviour"),
    "negative statistics": (
        {f"{statistics}/responses/all/std.npy": npy(np.full(24, -1.0))}, "0 or more for a std"),
    "statistics of another shape": (
        {f"{statistics}/behavior/all/std.npy": npy(np.ones(2))}, r"\(2,\), .* of shape \(3,\)"),
    "statistics that overflow": (
        {f"{statistics}/images/all/mean.npy": npy(np.float64(1e300))}, "must hold finite numbers"),
    "statistics that do not fit": (
        {f"{statistics}/images/all/std.npy": npy(np.float64(1e-38))}, "beyond its statistics"),
}  # fmt: skip


@pytest.mark.parametrize("unpacked", [False, True], ids=["zip", "folder"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_load_refuses_damaged_files(source, tmp_path, damage, unpacked, record_property):
    changes, expected = DAMAGES[damage]
    path = tiny.rewritten(source, tmp_path / source.name, changes=changes)
    path = unpack(path, tmp_path) if unpacked else path
    said = refused(path, tmp_path / "data")
    assert re.search(expected, said)
    assert TOP in said
    if not unpacked:
        record_property("fault", (f"file: {damage}", in_table(said, tmp_path), "nothing"))


# ---- damaged zips ----


def flipped(content):
    """One bit of one image."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        info = archive.getinfo(f"{TOP}/data/responses/9.npy")
    at = info.header_offset + 30 + len(info.filename) + info.file_size // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def with_member(name):
    """With one more member, perhaps of a name that is there: which is meant?"""

    def change(content):
        file = io.BytesIO(content)
        with warnings.catch_warnings(), zipfile.ZipFile(file, "a") as archive:
            warnings.simplefilter("ignore")  # zipfile's own, of the name
            archive.writestr(name, npy(np.ones(NEURONS)))
        return file.getvalue()

    return change


OUTSIDE = ("../../evil.npy", "/etc/evil.npy", "a/../../evil.npy", "C:/evil")
CONTAINERS = {
    "a member twice": (with_member(f"{TOP}/data/responses/9.npy"), "responses/9.npy' twice, or"),
    **{f"a member {name}": (with_member(name), f"'{name}' twice, or outside") for name in OUTSIDE},
    "a zip cut off": (lambda content: content[: len(content) // 2], "is not a zip file; download"),
    "a pointer of git-annex": (lambda _: b"/annex/objects/MD5-s432218", "get the content of this"),
    "an encrypted zip": (encrypted, r"\.npy in .* cannot be read"),
    "an unknown compression": (
        lambda content: relisted(content, 10, b"c"), r"\.npy in .* cannot be read"),
    "a flipped bit": (flipped, "responses/9.npy in .* cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("damage", CONTAINERS)
def test_load_refuses_damaged_zips(source, tmp_path, damage, record_property):
    change, expected = CONTAINERS[damage]
    path = tmp_path / "deep" / "folder" / source.name
    path.parent.mkdir(parents=True)
    path.write_bytes(change(source.read_bytes()))
    said = refused(path, tmp_path / "data")
    assert re.search(expected, said) and not list(tmp_path.rglob("evil*"))
    record_property("fault", (f"file: {damage}", in_table(said, path.parent), "nothing"))


def test_load_refuses_links_to_nowhere(tmp_path):
    path = tmp_path / f"{TOP}.zip"
    path.symlink_to(tmp_path / ".git" / "annex" / "objects" / "x")
    assert "if it is a link of git-annex, get its content" in refused(path, tmp_path / "data")


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO])
def test_load_says_what_the_system_says(source, tmp_path, monkeypatch, code):
    """Of a disk that fails, as a whole and at one array."""
    problem = OSError(code, os.strerror(code))
    said = f"cannot be read: {problem.strerror.lower()}"
    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "__init__", mock.Mock(side_effect=problem))
        assert said in refused(source, tmp_path / "data", OSError)
    read = kit.data.official.Source._open

    def fails(self, file):
        if file == "data/responses/5.npy":
            raise problem
        return read(self, file)

    monkeypatch.setattr(kit.data.official.Source, "_open", fails)
    assert f"responses/5.npy in {source} {said}" in refused(source, tmp_path / "data", OSError)


# ---- recordings as other programs write them ----


def numbered(digits, first=0):
    """Rename the arrays of trials: so many digits, and another first number."""
    return lambda name: re.sub(
        r"(\d+)\.npy", lambda match: f"{int(match[1]) + first:0{digits}}.npy", name
    )


OTHER_NAMES = {
    "padded": numbered(4),
    "from 1": numbered(1, 1),
    "of Windows": lambda name: name.replace("/", "\\"),
    "as they are": str,
    "no top folder": lambda name: name.removeprefix(f"{TOP}/"),
    "another above": lambda name: f"download/{name}",
}


@pytest.mark.parametrize("unpacked", [False, True], ids=["zip", "folder"])
@pytest.mark.parametrize("names", OTHER_NAMES)
def test_load_other_names(source, mouse, tmp_path, names, unpacked):
    path = tiny.rewritten(source, tmp_path / source.name, OTHER_NAMES[names])
    if unpacked and names != "of Windows":
        unpack(path, tmp_path / TOP)
        path = tmp_path / TOP
    assert_same(kit.load(path, folder=tmp_path / "data").mouse, mouse)


def test_load_refuses_kinds_numbered_differently(source, tmp_path):
    def rename(name):
        return OTHER_NAMES["from 1"](name) if "/images/" in name else name

    path = tiny.rewritten(source, tmp_path / source.name, rename)
    assert "to 70.npy; number all kinds alike" in refused(path, tmp_path / "data")


@pytest.mark.parametrize("kind", [float, "U", "S"])
def test_load_ids_of_other_types(source, mouse, tmp_path, kind):
    changes = {
        "meta/neurons/unit_ids.npy": npy(mouse.unit_ids.astype(kind)),
        "meta/trials/tiers.npy": npy(mouse.tiers.astype("S")),
        "meta/trials/trial_idx.npy": npy(np.arange(float(TRIALS))),
    }
    path = tiny.rewritten(source, tmp_path / source.name, changes=changes)
    loaded = kit.load(path, folder=tmp_path / "data").mouse
    assert loaded.unit_ids.dtype.kind == loaded.trial_ids.dtype.kind == "i"
    np.testing.assert_array_equal(loaded.unit_ids, mouse.unit_ids)
    np.testing.assert_array_equal(loaded.tiers, mouse.tiers)
    assert loaded.trial_ids.tolist() == list(range(TRIALS))


# ---- places ----


@pytest.mark.parametrize("unpacked", [False, True], ids=["zip", "folder"])
def test_load_ignores_files_of_mac(source, mouse, tmp_path, unpacked):
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
        unpack(path, tmp_path / TOP)
        path = tmp_path / TOP
    assert_same(kit.load(path, folder=tmp_path / "data").mouse, mouse)


def test_load_without_unused_files(source, mouse, tmp_path):
    unused = [f"meta/statistics/{kind}/all/{name}.npy"
              for kind in kit.data.official.KINDS for name in ("median", "min", "max")]  # fmt: skip
    path = tiny.rewritten(source, tmp_path / source.name, changes=dict.fromkeys(unused))
    assert_same(kit.load(path, folder=tmp_path / "data").mouse, mouse)


def test_array_files_follows_links(source, tmp_path):
    disk, path = unpack(source, tmp_path / "disk"), unpack(source, tmp_path / "here")
    for name in ("data/responses", "meta/statistics"):
        shutil.rmtree(path / name)
        (path / name).symlink_to(disk / name)
    mouse = kit.load(path, folder=tmp_path / "data").mouse
    assert mouse.responses.shape == (TRIALS, NEURONS)


def test_load_path_without_one_recording(source, tmp_path, record_property):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("notes")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    for name, expected in {
        "empty": "holds 0 files meta/trials/tiers.npy; give one recording's zip",
        "notes.txt": "is not a zip file",
        "other.zip": "holds 0 files meta/trials/tiers.npy",
    }.items():
        said = refused(tmp_path / name, tmp_path / "data")
        assert expected in said
        record_property("fault", (f"path: {name}", in_table(said, tmp_path), "nothing"))
    for name in ("one", "two"):
        unpack(source, tmp_path / "both" / name)
    assert "holds 2 files meta/trials/tiers" in refused(tmp_path / "both", tmp_path / "data")


def test_array_files_stops_at_two_levels(tmp_path):
    """A home folder may hold much: what is deep inside is not searched."""
    unpack(tiny.write(tmp_path / "a" / "b" / "c" / "d"), tmp_path / "home" / "a" / "b" / "c")
    assert "holds 0 files" in refused(tmp_path / "home", tmp_path / "data")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
def test_load_refuses_devices_and_pipes(source, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in ("/dev/zero", tmp_path / "fifo"):
        assert "nor a file or folder" in refused(path, tmp_path / "data")
    planted = (
        tmp_path / "data" / "recordings" / kit.data.sources.catalog.RECORDINGS["27204-5-13"].file
    )
    planted.parent.mkdir(parents=True)
    os.mkfifo(planted)
    with pytest.raises(ValueError, match="is not a zip file"):
        kit.load("sensorium+", folder=tmp_path / "data")
    shutil.rmtree(tmp_path / "data")
    for name, target in (("8", "/dev/zero"), ("9", tmp_path / "nowhere")):
        path = unpack(source, tmp_path / name)
        (path / "data" / "responses" / "3.npy").unlink()
        (path / "data" / "responses" / "3.npy").symlink_to(target)
        assert "responses/3.npy in" in refused(path, tmp_path / "data")


# ---- a property: a changed recording is refused or it is good ----


def mutated(content, rng):
    """A copy of a zip that was changed in one of many ways, somewhere."""
    kind = rng.integers(9)
    if kind == 0:  # some bytes
        return with_other_bytes(content, rng.integers(len(content), size=rng.integers(1, 20)), rng)
    if kind == 1:  # an end, or a piece, is gone
        start = rng.integers(len(content))
        return content[:start] + content[start + rng.integers(len(content)) :]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name, other = map(str, rng.choice(sorted(files), 2, replace=False))
    if kind == 2:
        del files[name]
    elif kind == 3:
        files[name], files[other] = files[other], files[name]
    elif kind == 4:
        files[name.replace("/", "//", 1) if rng.random() < 0.5 else f"{other}/x"] = files[name]
    elif kind == 5:  # a byte of one array, its header included
        files[name] = with_other_bytes(files[name], [rng.integers(min(len(files[name]), 160))], rng)
    else:
        files[name] = npy(changed_array(np.load(io.BytesIO(files[name])), kind, rng))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def with_other_bytes(content, places, rng):
    data = bytearray(content)
    for at in places:
        data[at] = rng.integers(256)
    return bytes(data)


def changed_array(array, kind, rng):
    """An array of another dtype, with another value or of another shape."""
    if kind == 6:
        dtype = rng.choice(["?", "i1", "u2", "f2", "f8", "c8", "U3", "S2", "M8[s]", "V2"])
        return np.zeros(array.shape, str(dtype))
    if kind == 8:
        shapes = [array[None], array.reshape(-1)[:-1], array[..., None], array.reshape(-1)[:0]]
        return shapes[rng.integers(4)]
    changed = np.array(array, float if array.dtype.kind in "biuf" else array.dtype)
    if changed.size and changed.dtype.kind == "f":
        bad = rng.choice([np.nan, np.inf, -1e9, 1e38, 1e-300])
        changed.reshape(-1)[rng.integers(changed.size)] = bad
    return changed


@pytest.mark.slow
def test_load_mutated_recordings(tmp_path, record_property):
    few = tiny.arrays(neurons=5, tiers={"train": 6, "validation": 4},
                      test={"test": (2, 2), "final_test": (2,)})  # fmt: skip
    content = tiny.write(tmp_path, few).read_bytes()
    path = tmp_path / f"{TOP}.zip"
    outcomes = {"refused": 0, "good": 0}
    for seed in range(200):
        path.write_bytes(mutated(content, np.random.default_rng(seed)))
        folder = tmp_path / "data" / str(seed)
        try:
            mouse = kit.load(path, folder=folder).mouse
        except ValueError as refusal:
            assert "\n" not in str(refusal) and len(str(refusal)) < 700, (seed, refusal)
            assert left_in(folder) == [], seed
            outcomes["refused"] += 1
            continue
        trials = len(mouse.tiers)
        assert mouse.images.shape == (trials, 1, 36, 64), seed
        assert mouse.responses.shape == (trials, len(mouse.unit_ids)), seed
        for tier in set(mouse.tiers) & {"train", "validation", "test", "final_test"}:
            for value in mouse.first(tier, trials):
                assert value is None or value.isfinite().all(), seed
        outcomes["good"] += 1
    assert outcomes["refused"] > 100 and outcomes["good"] > 10  # both do happen
    record_property("fault", ("200 mutations of a good recording",
                              f"{outcomes['refused']} refused in one sentence",
                              f"{outcomes['good']} opened, all values finite"))  # fmt: skip
