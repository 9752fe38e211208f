"""Recordings and batches, standardised as in the 2022 baselines and the official ground truth."""

import socket
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kit.data.official import META, READ_ERRORS, TIERS

ARRAYS = ("images", "responses", "behavior", "pupil_center")
TYPICAL_BEHAVIOR = (4, 0, 0.5)  # pupil size, its change, running speed, each in its std


class Batch(NamedTuple):
    """Some trials of one mouse, as tensors; B trials, N neurons."""

    images: Tensor                      # (B, 1, H, W) z-scored pixels
    responses: Tensor | None = None     # (B, N) each neuron divided by its std; None if withheld
    behavior: Tensor | None = None      # (B, 3) pupil size, its change, running speed, in their std
    pupil_center: Tensor | None = None  # (B, 2) eye position, z-scored

    def to(self, device):
        """The same batch on another device."""
        return Batch(*(value if value is None else value.to(device) for value in self))

    @classmethod
    def typical(cls, images):
        """Images of your own as a mouse sees them in a usual state, its eye at its mean position.

        images: array or tensor, (B, 1, H, W) or (B, H, W), z-scored. For every image behaviour is
        (4, 0, .5): a pupil of four times its std, which does not change, and a little running.
        Zeros would not be neutral: behaviour is divided by its std but not centred, so they mean a
        pupil of size 0, which no model has met. Models of images alone leave it aside.
        """
        if not isinstance(images, Tensor):  # an array may be read-only or flipped: a copy
            images = torch.from_numpy(np.array(images, order="C"))
        if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[1] != 1):
            raise ValueError(f"images of shape {tuple(images.shape)} are not (B, 1, H, W) or "
                             "(B, H, W); give one image as images[None]")
        if not images.is_floating_point():
            raise ValueError(f"images of {images.dtype} are not z-scored; 0 to 255 becomes so by "
                             "(images - 113.5) / 64.6, mean and std of the benchmark's")
        images = images.float().reshape(-1, 1, *images.shape[-2:])
        state = images.new_tensor([TYPICAL_BEHAVIOR]).expand(len(images), -1)
        return cls(images, None, state, images.new_zeros(len(images), 2))


@dataclass(frozen=True, eq=False, repr=False)
class Recording:
    """One mouse, one day: T trials of N neurons. Arrays are read-only and stay on disk."""

    mouse: str
    images: np.ndarray               # (T, 1, H, W) float32, z-scored
    responses: np.ndarray            # (T, N) float32, divided by std; NaN where withheld
    behavior: np.ndarray | None      # (T, 3) float32, divided by std; None if withheld or absent
    pupil_center: np.ndarray | None  # (T, 2) float32, z-scored; None if withheld or absent
    tiers: np.ndarray                # (T,) str: train, validation, test or final_test
    image_ids: np.ndarray            # (T,) int: repeats of an image share it
    trial_ids: np.ndarray            # (T,) int, or 32 characters in the competition mice
    unit_ids: np.ndarray             # (N,) int, not contiguous
    coordinates: np.ndarray          # (N, 3) place in cortex, micrometres
    statistics: dict                 # name -> the mean or std that was used, in raw units

    packed = None  # no field: the folder where it lies, which a copy with changes does not have

    def __reduce__(self):
        """Pickled by its place, not by its gigabytes: who unpickles it opens the same files."""
        if self.packed is None:
            return Recording, tuple(getattr(self, part.name) for part in fields(self))
        return open_packed, (self.mouse, self.packed, self.image_size, self.tiers)

    def __post_init__(self):
        for value in [*vars(self).values(), *self.statistics.values()]:
            if isinstance(value, np.ndarray):
                value.flags.writeable = False

    @property
    def image_size(self):
        """Height and width of the images, in pixels."""
        return self.images.shape[-2:]

    def __getitem__(self, name):
        raise TypeError(f"a Recording has attributes, not keys; write recording.{name}")

    def rows(self, tier):
        """Indices of a tier's trials, in the order of the recording. Returns (n,)."""
        rows = np.flatnonzero(self.tiers == tier)
        if not len(rows):
            here = ", ".join(t for t in TIERS if (self.tiers == t).any())
            raise ValueError(f"mouse {self.mouse} has no tier {tier!r}; its tiers are {here}")
        return rows

    def withheld(self, tier):
        """Whether the responses of a tier are kept back (zeros in the file, NaN here)."""
        return bool(np.isnan(self.responses[self.rows(tier)[0]]).all())

    def batch(self, rows):
        """The trials at these indices, as a `Batch` of copies; no responses if any is withheld."""
        rows = np.atleast_1d(np.arange(len(self.tiers))[rows])  # a slice would give views
        batch = Batch(*(value if value is None else torch.from_numpy(value[rows])
                        for value in (self.images, self.responses, self.behavior,
                                      self.pupil_center)))
        withheld = batch.responses[:, 0].isnan().any()  # a withheld trial is NaN throughout
        return batch._replace(responses=None) if withheld else batch

    def first(self, tier, n):
        """The first n trials of a tier (all of them if it has fewer), as one `Batch`."""
        if not isinstance(n, int | np.integer) or n < 1:
            raise ValueError(f"the first {n!r} trials cannot be had; give 1 or more")
        return self.batch(self.rows(tier)[:n])

    def batches(self, tier, size=128, seed=None):
        """Each trial of a tier once, `size` at a time; shuffled if a seed is given."""
        if not isinstance(size, int | np.integer) or size < 1:
            raise ValueError(f"a batch of {size!r} trials is not possible; give size=1 or more")
        rows = self.rows(tier)
        if seed is not None:
            rows = np.random.default_rng(seed).permutation(rows)
        return (self.batch(rows[start:start + size]) for start in range(0, len(rows), size))

    def subset(self, n):
        """The same recording with its first n train trials alone; see `Dataset.subset`."""
        rows = self.rows("train")
        if not isinstance(n, int | np.integer) or not 1 <= n <= len(rows):
            raise ValueError(f"{n!r} train trials cannot be had of mouse {self.mouse}; give 1 to "
                             f"{len(rows)}")
        tiers = self.tiers.astype("<U10")  # a copy, wide enough for every tier
        tiers[rows[n:]] = "unused"
        few = replace(self, tiers=tiers)
        object.__setattr__(few, "packed", self.packed)
        return few

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

    def __getattr__(self, name):
        """Only called for what a Dataset lacks: what its recordings have is said to be theirs."""
        if not name.startswith("_") and name in {*dir(Recording), *Recording.__annotations__}:
            mouse = next(iter(self), "…")
            raise AttributeError(f"a Dataset maps mice to recordings and has no {name!r} itself; "
                                 f"write data.mouse.{name}, or data[{mouse!r}].{name}")
        raise AttributeError(f"'Dataset' object has no attribute {name!r}")

    def __iter__(self):
        return iter(self._recordings)

    def __len__(self):
        return len(self._recordings)

    @property
    def mouse(self):
        """The only recording; an error if there are several."""
        if len(self) != 1:
            raise ValueError(f"there are {len(self)} mice here; choose one, for example "
                             f"data[{next(iter(self), '…')!r}], of {', '.join(self)}")
        return next(iter(self.values()))

    @property
    def neurons(self):
        """Mouse -> coordinates (N, 3) of its neurons, in micrometres."""
        return {mouse: recording.coordinates for mouse, recording in self.items()}

    @property
    def image_size(self):
        """Height and width of the images, in pixels."""
        return next(iter(self.values())).image_size

    def subset(self, n):
        """The same mice as if they had seen fewer images: the first n train trials of each.

        Raises ValueError if a mouse has not as many.
        """
        return Dataset(recording.subset(n) for recording in self.values())

    def __repr__(self):
        return "\n".join(map(repr, self.values()))


def require_dataset(data):
    """`data` itself if it is a `Dataset`, as what takes one needs; else a ValueError."""
    if not isinstance(data, Dataset):
        raise ValueError(f"a Dataset is needed, not a {type(data).__name__}; open one with "
                         'kit.load, for example kit.load("sample+")')
    return data


def open_packed(mouse, packed, size, tiers=None):
    """The recording in a folder of packed arrays, perhaps in another process or on another host.

    tiers: which trials are used, as of the recording that was pickled; else as packed.
    """
    if not packed.is_dir():
        raise FileNotFoundError(
            f"mouse {mouse} is not at {packed} on host {socket.gethostname()}; put the data folder "
            "where every host sees it at one path, name it in KIT_DATA_DIR and load again")
    try:
        with np.load(packed / "meta.npz") as meta:
            values = {name: meta[name] for name in meta.files}
        arrays = {name: np.load(packed / f"{name}.npy", mmap_mode="r")
                  if f"{name}_std" in values else None for name in ARRAYS}
        meta = {name: values.pop(name) for name in META}
        trials, neurons = len(meta["tiers"]), len(meta["unit_ids"])
        shapes = {"images": (trials, 1, *size), "responses": (trials, neurons),
                  "behavior": (trials, 3), "pupil_center": (trials, 2)}
        for name, array in arrays.items():
            if (array is None and name in ARRAYS[:2]) or (array is not None and (
                    array.shape != shapes[name] or array.dtype != np.float32)):
                raise ValueError(name)
        meta["tiers"] = meta["tiers"] if tiers is None else tiers
        recording = Recording(mouse, **arrays, **meta, statistics=values)
        object.__setattr__(recording, "packed", packed)
        return recording
    except (*READ_ERRORS, KeyError, AttributeError, tokenize.TokenError):
        raise ValueError(f"the packed copy {packed} is damaged; delete that folder and load "
                         "again") from None
