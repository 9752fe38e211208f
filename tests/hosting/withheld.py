"""Recordings to withhold from, and all that a public zip holds."""

import io
import zipfile

import numpy as np
import tiny

import kit


def open_mouse(**options):
    """Arrays like those of an open mouse: a test tier alone, trial ids that tell the order."""
    options = {"test": {"test": (4, 4, 3, 3, 2, 4)}, "hashed": False} | options
    arrays = tiny.arrays(**options)
    order = np.random.default_rng(5).permutation(len(arrays["tiers"]))
    return arrays | {"trial_idx": order}  # when each trial was shown


def load(arrays, folder, size=(36, 64), seen=None):
    """The recording, written and opened. seen: the trials (T,) of its statistics; else of all."""
    path = folder / "static7-1-1-GrayImageNet-tiny.zip"
    folder.mkdir(parents=True)
    seen = np.ones(len(arrays["tiers"]), bool) if seen is None else seen
    kit.data.official.write(path, arrays, statistics_from=seen)
    return kit.load(path, size, folder / "data").mouse


def public_zip(out):
    """The path of the zip below `out`."""
    (path,) = (out / "public").glob("*.zip")
    return path


def members(out):
    """Name, without top folder and ending, -> array of each member, in their order."""
    with zipfile.ZipFile(public_zip(out)) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    return {
        name.partition("/")[2].removesuffix(".npy"): np.load(io.BytesIO(content))
        for name, content in contents.items()
    }
