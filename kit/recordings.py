"""Recordings in the official layout, packed once into arrays that open in no time.

`load` gives a `Dataset` of `Recording`s; a recording hands out `Batch`es. All values are
standardised as in the 2022 baselines and as in the official ground truth.
"""

import difflib
import hashlib
import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from kit import catalog, sample

PACKED = 1  # version of the packed arrays: part of the cache key
TIERS = ("train", "validation", "test", "final_test")
META = {"tiers": "trials/tiers", "image_ids": "trials/frame_image_id",
        "trial_ids": "trials/trial_idx", "unit_ids": "neurons/unit_ids",
        "coordinates": "neurons/cell_motor_coordinates"}
ARRAYS = ("images", "responses", "behavior", "pupil_center")


class Batch(NamedTuple):
    """Some trials of one mouse, as tensors; B trials, N neurons."""

    images: Tensor                      # (B, 1, H, W) z-scored pixels
    responses: Tensor | None = None     # (B, N) each neuron divided by its std; zeros if withheld
    behavior: Tensor | None = None      # (B, 3) pupil size, its change, running speed, in their std
    pupil_center: Tensor | None = None  # (B, 2) eye position, z-scored

    def to(self, device):
        """The same batch on another device."""
        return Batch(*(value if value is None else value.to(device) for value in self))


@dataclass(frozen=True, eq=False, repr=False)
class Recording:
    """One mouse, one day: T trials of N neurons. Arrays are read-only and stay on disk."""

    mouse: str
    images: np.ndarray               # (T, 1, H, W) float32, z-scored
    responses: np.ndarray            # (T, N) float32, divided by std; zeros where withheld
    behavior: np.ndarray | None      # (T, 3) float32, divided by std; None where withheld
    pupil_center: np.ndarray | None  # (T, 2) float32, z-scored; None where withheld
    tiers: np.ndarray                # (T,) str: train, validation, test or final_test
    image_ids: np.ndarray            # (T,) int: repeats of an image share it
    trial_ids: np.ndarray            # (T,) int, or 32 characters in the competition mice
    unit_ids: np.ndarray             # (N,) int, not contiguous
    coordinates: np.ndarray          # (N, 3) place in cortex, micrometres
    statistics: dict                 # name -> the mean or std that was used, in raw units

    @property
    def image_size(self):
        """Height and width of the images, in pixels."""
        return self.images.shape[-2:]

    def rows(self, tier):
        """Indices of a tier's trials, in the order of the recording. Returns (n,)."""
        rows = np.flatnonzero(self.tiers == tier)
        if not len(rows):
            here = ", ".join(t for t in TIERS if (self.tiers == t).any())
            raise ValueError(f"mouse {self.mouse} has no tier {tier!r}; its tiers are {here}")
        return rows

    def withheld(self, tier):
        """Whether the responses of a tier are kept back (zeros in the file)."""
        return not self.responses[self.rows(tier)].any()

    def batch(self, rows):
        """The trials at these indices, as one `Batch`."""
        return Batch(*(value if value is None else torch.from_numpy(value[rows])
                       for value in (self.images, self.responses, self.behavior,
                                     self.pupil_center)))

    def first(self, tier, n):
        """The first n trials of a tier (all of them if it has fewer), as one `Batch`."""
        return self.batch(self.rows(tier)[:n])

    def batches(self, tier, size=128, seed=None):
        """Each trial of a tier once, `size` at a time; shuffled if a seed is given."""
        if size < 1:
            raise ValueError(f"a batch of {size} trials is not possible; give size=1 or more")
        rows = self.rows(tier)
        if seed is not None:
            rows = np.random.default_rng(seed).permutation(rows)
        for start in range(0, len(rows), size):
            yield self.batch(rows[start:start + size])

    def __repr__(self):
        counts = ", ".join(f"{(self.tiers == t).sum()} {t}" for t in TIERS if t in self.tiers)
        known = "with" if self.behavior is not None else "without"
        return (f"mouse {self.mouse}: {len(self.unit_ids)} neurons, {counts} trials, "
                f"images {self.image_size[0]}x{self.image_size[1]}, {known} behaviour")


class Dataset(Mapping):
    """Recordings by mouse, read-only: `data["27204-5-13"]`, `data.mouse` if there is only one."""

    def __init__(self, recordings):
        self._recordings = {recording.mouse: recording for recording in recordings}

    def __getitem__(self, mouse):
        if mouse not in self._recordings:
            raise KeyError(f"no mouse {mouse!r} here; there is {', '.join(self)}")
        return self._recordings[mouse]

    def __iter__(self):
        return iter(self._recordings)

    def __len__(self):
        return len(self._recordings)

    @property
    def mouse(self):
        """The only recording; an error if there are several."""
        if len(self) > 1:
            raise ValueError(f"there are {len(self)} mice here; choose one, for example "
                             f"data[{next(iter(self))!r}], of {', '.join(self)}")
        return next(iter(self.values()))

    @property
    def neurons(self):
        """Mouse -> coordinates (N, 3) of its neurons, in micrometres."""
        return {mouse: recording.coordinates for mouse, recording in self.items()}

    @property
    def image_size(self):
        """Height and width of the images, in pixels."""
        return next(iter(self.values())).image_size

    def __repr__(self):
        return "\n".join(map(repr, self.values()))


def load(names, size=(36, 64), folder=None):
    """Open recordings by name, id or path. Returns a `Dataset`.

    names: "sample", "sample+", "sample-pretrain" (simulated), "sensorium", "sensorium+",
        "pretrain", "all" (published), a recording id, a path to a zip or folder in the official
        layout, or a list of these.
    size: height and width of the images in pixels, scaled from 144 x 256 by bilinear interpolation.
    folder: the data folder; else KIT_DATA_DIR, else the user's cache.
    The first opening packs the recording into the data folder; it never writes into the recording.
    """
    if not isinstance(size, tuple | list) or len(size) != 2 or not all(
            isinstance(n, int) and n > 0 for n in size):
        raise ValueError(f"size={size!r} is not a height and width in pixels, such as (36, 64)")
    listed = [names] if isinstance(names, str | Path) else list(names)
    if not listed:
        raise ValueError('no recording named; try kit.load("sample+")')
    found = {}  # mouse -> path, each once
    for name in listed:
        for mouse, path in _find(name, folder).items():
            if found.setdefault(mouse, path) != path:
                raise ValueError(f"mouse {mouse} is in both {found[mouse]} and {path}; name one")
    return Dataset([_open(mouse, path, tuple(size), folder) for mouse, path in found.items()])


def _find(name, folder):
    """Mouse -> path of its zip or folder, for one name."""
    known = {**catalog.NAMES, **{mouse: [mouse] for mouse in catalog.RECORDINGS}}
    simulated = {**sample.NAMES, **{mouse: [mouse] for mouse in sample.MICE}}
    if name in simulated:
        return {mouse: sample.path(mouse, folder) for mouse in simulated[name]}
    if name in known:
        return {mouse: catalog.fetch(mouse, folder) for mouse in known[name]}
    path = Path(name).expanduser()
    if path.exists():
        return {_mouse(path): path.resolve()}
    near = difflib.get_close_matches(str(name), [*simulated, *known], n=2, cutoff=0.4)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise ValueError(f"{str(name)!r} is neither a known recording nor a path that exists; {hint}"
                     f"names are {', '.join([*sample.NAMES, *catalog.NAMES])}, or a recording's id")


def _mouse(path):
    """The mouse's id: from the path's name, else from the folder inside, else the name itself."""
    def inside():
        if path.is_dir():
            yield from (child.name for child in path.iterdir())
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield from archive.namelist()

    matches = (re.match(r"static(.+?)-GrayImageNet", name) for name in chain([path.name], inside()))
    return next((match[1] for match in matches if match), path.stem)


def _open(mouse, path, size, folder):
    """The packed recording, packed first if the source or the size is new."""
    key = hashlib.sha1(repr((PACKED, _fingerprint(path))).encode()).hexdigest()[:16]
    packed = catalog.data_folder(folder) / "packed" / f"{mouse}-{size[0]}x{size[1]}-{key}"
    if not packed.is_dir():
        with _source(path) as source, catalog.whole(packed) as part:
            part.mkdir()
            _pack(mouse, source, part, size)
    arrays = {name: np.load(file, mmap_mode="r") if (file := packed / f"{name}.npy").exists()
              else None for name in ARRAYS}
    with np.load(packed / "meta.npz") as meta:
        values = {name: meta[name] for name in meta.files}
    meta = {name: values.pop(name) for name in META}
    return Recording(mouse, **arrays, **meta, statistics=values)


def _fingerprint(path):
    """What changes when a recording's files change: path, sizes and times of change."""
    files = [path] if path.is_file() else sorted(path.rglob("*.npy"))
    stats = [file.stat() for file in files]
    return str(path), [(str(f), s.st_size, s.st_mtime_ns)
                       for f, s in zip(files, stats, strict=True)]


# ---- packing ----

class _source:
    """Reads the arrays of a recording, from a zip or a folder, by their official names."""

    def __init__(self, path):
        self.path = path
        try:
            self.archive = zipfile.ZipFile(path) if path.is_file() else None
        except zipfile.BadZipFile:
            raise ValueError(f"{path} is not a zip file; it may be cut off or a web page: "
                             "download it again") from None
        names = self.archive.namelist() if self.archive else [
            file.relative_to(path).as_posix() for file in path.rglob("*.npy")]
        mark = "meta/trials/tiers.npy"  # the folder that holds it is the recording's top
        tops = [name.removesuffix(mark) for name in names
                if name.endswith(mark) and "__MACOSX" not in name]
        if len(tops) != 1:
            raise ValueError(f"{path} is not one recording in the official layout: it holds "
                             f"{len(tops)} files {mark}; give the static…zip or its folder")
        self.top, self.names = tops[0], set(names)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.archive:
            self.archive.close()

    def read(self, name, shape=None):
        """The array of that name; an error if it is missing or has another shape."""
        member = f"{self.top}{name}.npy"
        if member not in self.names:
            raise ValueError(f"{self.path} has no {name}.npy; the recording is incomplete, "
                             "download or unpack it again")
        try:
            data = self.archive.read(member) if self.archive else (self.path / member).read_bytes()
            array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
        except (ValueError, EOFError, OSError, zipfile.BadZipFile, RuntimeError) as problem:
            raise ValueError(f"{name}.npy in {self.path} cannot be read ({problem}); "
                             "download or unpack the recording again") from None
        if shape is not None and array.shape != shape:
            raise ValueError(f"{name}.npy in {self.path} has shape {array.shape}, "
                             f"expected {shape}; the recording is damaged")
        return array


def _pack(mouse, source, part, size):
    """Write the standardised arrays and meta.npz into the folder `part`."""
    meta = {name: source.read(f"meta/{file}") for name, file in META.items()}
    trials, neurons = len(meta["tiers"]), len(meta["unit_ids"])
    for name, values in meta.items():
        expected = {"unit_ids": (neurons,), "coordinates": (neurons, 3)}.get(name, (trials,))
        if values.shape != expected:
            raise ValueError(f"{META[name]}.npy in {source.path} has shape {values.shape}, "
                             f"expected {expected}; the recording is damaged")
    unknown = sorted(set(meta["tiers"].tolist()) - set(TIERS))
    if unknown:
        raise ValueError(f"{source.path} has the unknown tiers {unknown}; known: {TIERS}")

    raw = source.read("data/images/0").shape
    shapes = {"images": raw, "responses": (neurons,), "behavior": (3,), "pupil_center": (2,)}
    statistics = {}
    for kind, shape in shapes.items():
        packed_shape = (trials, 1, *size) if kind == "images" else (trials, *shape)
        out = np.lib.format.open_memmap(part / f"{kind}.npy", "w+", np.float32, packed_shape)
        mean, std = _standardisation(source, kind, shape)
        blocks = range(0, trials, 128)
        seen = False  # anything but zeros?
        for start in catalog.progress(blocks, desc=f"packing {mouse} {kind}", unit="block"):
            block = np.stack([source.read(f"data/{kind}/{trial}", shape).astype(np.float32)
                              for trial in range(start, min(start + 128, trials))])
            if not np.isfinite(block).all():
                raise ValueError(f"data/{kind} in {source.path} has values that are not finite, "
                                 f"in trials {start} to {start + len(block) - 1}")
            seen = seen or block.any()
            block = (block - mean) / std
            if kind == "images" and shape[-2:] != size:
                block = interpolate(torch.from_numpy(block), size=size, mode="bilinear",
                                    align_corners=False).numpy()  # (B, 1, H, W)
            out[start:start + len(block)] = block
        out.flush()
        del out
        if not seen and kind in ("behavior", "pupil_center"):  # withheld: zeros throughout
            (part / f"{kind}.npy").unlink()
        else:
            statistics |= {f"{kind}_mean": mean, f"{kind}_std": std}
    np.savez(part / "meta.npz", **meta, **statistics)


def _standardisation(source, kind, shape):
    """The float32 mean to subtract and std to divide by."""
    std = source.read(f"meta/statistics/{kind}/all/std").astype(np.float32)
    mean = np.zeros_like(std)  # responses and behaviour are scaled, not centred
    if kind in ("images", "pupil_center"):
        mean = source.read(f"meta/statistics/{kind}/all/mean").astype(np.float32)
    if kind == "images":
        return mean, std
    if std.shape != shape or mean.shape != shape:
        raise ValueError(f"meta/statistics/{kind}/all in {source.path} has shape {std.shape}, "
                         f"expected {shape}; the recording is damaged")
    if kind == "responses":
        floor = 0.01 * std.mean()  # so that silent neurons do not explode
        return mean, np.where(std > floor, std, floor)
    return mean, np.where(std > 0, std, 1).astype(np.float32)
