"""Recordings, standardised as in the 2022 baselines and the official ground truth."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kit.checks import brief, one_line, require_array, require_int
from kit.data.batches import TYPICAL_BEHAVIOR as TYPICAL_BEHAVIOR
from kit.data.batches import Batch
from kit.data.batches import require_z_scored as require_z_scored
from kit.data.layout import BEHAVIOR, KINDS, META, TIERS
from kit.data.zips import READ_ERRORS, require_readable


@dataclass(frozen=True, eq=False, repr=False)
class Recording:
    """One mouse, one day: T trials of N neurons. Arrays are read-only and stay on disk."""

    mouse: str
    images: np.ndarray  # (T, 1, H, W) float32, z-scored
    responses: np.ndarray  # (T, N) float32, divided by std; NaN where withheld
    behavior: np.ndarray | None  # (T, K) float32, divided by std; None if withheld or absent
    pupil_center: np.ndarray | None  # (T, 2) float32, z-scored; None if withheld or absent
    tiers: np.ndarray  # (T,) str: train, validation, test, final_test; others unused
    image_ids: np.ndarray  # (T,) int: repeats of an image share it
    trial_ids: np.ndarray  # (T,) int, or 32 characters in the competition mice
    unit_ids: np.ndarray  # (N,) int, not contiguous
    coordinates: np.ndarray  # (N, 3) position in cortex, micrometres
    statistics: dict  # name -> the mean or std that was used, in raw units
    behavior_names: tuple[str, ...] = BEHAVIOR  # of its K columns

    # the folder of these arrays' files; `replace` does not copy it, so a changed copy has none
    packed: Path | None = field(default=None, init=False)

    def __reduce__(self):
        """Pickle the folder, not gigabytes of arrays: the other process opens the same files."""
        if self.packed is None:
            return Recording, tuple(getattr(self, each.name) for each in fields(self) if each.init)
        return open_packed, (self.mouse, self.packed, self.tiers)

    def __post_init__(self):
        trials = len(self.tiers)
        neurons = len(self.unit_ids)
        shapes = {
            "images": (trials, 1, "height", "width"),
            "responses": (trials, neurons),
            "behavior": (trials, len(self.behavior_names)),
            "pupil_center": (trials, 2),
            "coordinates": (neurons, 3),
        }
        for name, shape in shapes.items():
            if getattr(self, name) is not None:
                require_array(f"{name} of mouse {self.mouse}", getattr(self, name), shape)
        if not len(self.image_ids) == len(self.trial_ids) == trials:
            raise ValueError(
                f"mouse {self.mouse} has {trials} tiers; give as many ids of each kind"
            )
        vars(self)["statistics"] = dict(self.statistics)
        for values in (vars(self), self.statistics):
            for name, value in values.items():
                if isinstance(value, np.ndarray) and value.flags.writeable:
                    values[name] = value.view()  # the caller's own array stays as it is
                    values[name].flags.writeable = False

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images, in pixels."""
        return self.images.shape[-2:]

    def __getitem__(self, name):
        raise TypeError(f"a Recording has attributes, not keys; write recording.{name}")

    def rows(self, tier: str) -> np.ndarray:
        """Indices (n,) of a tier's trials, in the order of the recording.

        Raises ValueError if there is no trial of that tier.
        """
        rows = np.flatnonzero(self.tiers == tier) if isinstance(tier, str) else []
        if not len(rows):
            tiers = ", ".join(one_line(name, 40) for name in self._trials_by_tier())
            raise ValueError(f"mouse {self.mouse} has no tier {tier!r}; its tiers are {tiers}")
        return rows

    def require_tiers(self, *tiers: str) -> None:
        """Raise ValueError unless there are trials of each of these tiers."""
        for tier in tiers:
            self.rows(tier)

    def _trials_by_tier(self):
        """Tier -> number of trials: first the tiers that methods use, then all others."""
        counts = Counter(self.tiers.tolist())
        return {tier: counts[tier] for tier in [*TIERS, *sorted(counts)] if tier in counts}

    def withheld(self, tier: str) -> bool:
        """Whether the responses of a tier are withheld (zeros in the file, NaN here)."""
        return bool(np.isnan(self.responses[self.rows(tier)[0]]).all())

    def batch(self, rows: np.ndarray | list | slice | int) -> Batch:
        """The trials at these indices, copied; without responses if any of them is withheld.

        Raises IndexError or ValueError for what are not indices of trials.
        """
        chosen = np.atleast_1d(np.arange(len(self.tiers))[rows])  # a slice would give views
        if chosen.ndim != 1:
            raise ValueError(f"rows={brief(rows)} are not one row of whole numbers; give such rows")
        responses = torch.from_numpy(self.responses[chosen])
        withheld = responses[:, 0].isnan().any()  # a withheld trial is NaN throughout
        state = [
            None if array is None else torch.from_numpy(array[chosen])
            for array in (self.behavior, self.pupil_center)
        ]
        images = torch.from_numpy(self.images[chosen])
        return Batch(images, None if withheld else responses, *state)

    def first(self, tier: str, n: int) -> Batch:
        """The first n trials of a tier, or all of them if it has fewer.

        >>> kit.load("sample+").mouse.first("train", 8).images.shape
        torch.Size([8, 1, 36, 64])
        """
        return self.batch(self.rows(tier)[: require_int("n", n, 1)])

    def batches(self, tier: str, size: int = 128, seed: Any = None) -> Iterator[Batch]:
        """Each trial of a tier once, `size` at a time; the last batch may be smaller.

        seed: anything that numpy.random.default_rng takes, to shuffle; None keeps the order.

        >>> mouse = kit.load("sample+").mouse
        >>> [len(batch.images) for batch in mouse.batches("validation", size=64, seed=0)]
        [64, 64, 64, 8]
        """
        require_int("size", size, 1)
        rows = self.rows(tier)
        if seed is not None:
            rows = np.random.default_rng(seed).permutation(rows)
        return (self.batch(rows[start : start + size]) for start in range(0, len(rows), size))

    def subset(self, n: int) -> Recording:
        """The same recording with only its first n train trials; see `Dataset.subset`."""
        rows = self.rows("train")
        return self.with_train(rows[: require_int("n", n, 1, len(rows))])

    def with_train(self, rows: np.ndarray) -> Recording:
        """The same recording with only these of its train trials, indices (n,) of trials."""
        tiers = self.tiers.astype("<U10")  # a copy, wide enough for every tier
        tiers[np.setdiff1d(self.rows("train"), rows)] = "unused"
        return replace(self, tiers=tiers)._from_files(self.packed)

    def with_neurons(self, neurons: np.ndarray) -> Recording:
        """The same recording with only these of its neurons, indices (n,)."""
        statistics = dict(self.statistics)
        for name in ("responses_mean", "responses_std"):
            if name in statistics:
                statistics[name] = statistics[name][neurons]
        return replace(
            self,
            responses=self.responses[:, neurons],
            unit_ids=self.unit_ids[neurons],
            coordinates=self.coordinates[neurons],
            statistics=statistics,
        )

    def redraw(self, seed: int) -> Recording:
        """The same recording with other trials for validation; see `Dataset.redraw`."""
        self.require_tiers(*TIERS[:2])
        rows = np.flatnonzero(np.isin(self.tiers, TIERS[:2]))
        tiers = self.tiers.copy()
        tiers[rows] = np.random.default_rng(require_int("seed", seed, 0)).permutation(tiers[rows])
        return replace(self, tiers=tiers)._from_files(self.packed)

    def _from_files(self, packed):
        """The recording itself; its arrays lie in a folder."""
        object.__setattr__(self, "packed", packed)
        return self

    def __repr__(self):
        trials = self._trials_by_tier()
        used = [f"{count} {tier}" for tier, count in trials.items() if tier in TIERS]
        others = [f"{trials[tier]} {one_line(tier, 40)}" for tier in trials if tier not in TIERS]
        left_out = f" (left out: {', '.join(others)})" if others else ""
        state = "without behaviour" if self.behavior is None else "with behaviour"
        if self.behavior is not None and self.behavior_names != BEHAVIOR:
            state += f" ({one_line(', '.join(self.behavior_names))})"
        height, width = self.image_size
        return (
            f"mouse {one_line(self.mouse)}: {len(self.unit_ids)} neurons, {', '.join(used)} "
            f"trials{left_out}, images {height}x{width}, {state}"
        )


class Dataset(Mapping):
    """Recordings by mouse, read-only: `data["27204-5-13"]`, `data.mouse` if there is only one."""

    def __init__(self, recordings: Iterable[Recording]):
        recordings = list(recordings)
        self._recordings = {recording.mouse: recording for recording in recordings}
        if not 0 < len(self._recordings) == len(recordings):
            names = [recording.mouse for recording in recordings]
            raise ValueError(f"the mice {names} are no Dataset; give one or more, each once")

    def __getitem__(self, mouse):
        if mouse not in self._recordings:
            raise KeyError(f"there is no mouse {mouse!r} here; the mice are {', '.join(self)}")
        return self._recordings[mouse]

    def __getattr__(self, name):
        """Called only for a missing attribute: says if the recordings have it."""
        hint = ""
        if name in Recording.__annotations__ or hasattr(Recording, name):
            hint = f"; write data.mouse.{name}, or data[{next(iter(self._recordings))!r}].{name}"
        raise AttributeError(f"'Dataset' object has no attribute {name!r}{hint}")

    def __iter__(self):
        return iter(self._recordings)

    def __len__(self):
        return len(self._recordings)

    @property
    def mouse(self) -> Recording:
        """The only recording. Raises ValueError if there are several."""
        if len(self) != 1:
            raise ValueError(f"there are {len(self)} mice here; choose one of {', '.join(self)}")
        return next(iter(self.values()))

    @property
    def neurons(self) -> dict[str, np.ndarray]:
        """Mouse -> coordinates (N, 3) of its neurons, in micrometres."""
        return {mouse: recording.coordinates for mouse, recording in self.items()}

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images, in pixels."""
        return next(iter(self.values())).image_size

    def subset(self, n: int) -> Dataset:
        """The same mice, each with only its first n train trials; other tiers are unchanged.

        Raises ValueError if a mouse has fewer.

        >>> kit.load("sample+").subset(64)
        mouse 99002-1-1: 600 neurons, 64 train, 200 validation, ...
        """
        return Dataset(recording.subset(n) for recording in self.values())

    def redraw(self, seed: int) -> Dataset:
        """The same mice with as many train and validation trials, but others.

        For the members of an ensemble: each learns from trials that others validate on, so the mean
        has seen them all. Such a model's score on another draw's validation tier is too high.
        Raises ValueError for a negative seed, or without trials of either tier.

        >>> kit.load("sample+").redraw(seed=1)
        mouse 99002-1-1: 600 neurons, 1600 train, 200 validation, ...
        """
        return Dataset(recording.redraw(seed) for recording in self.values())

    def __repr__(self):
        return "\n".join(map(repr, self.values()))


def require_dataset(data: object) -> Dataset:
    """`data` itself if it is a `Dataset`. Raises ValueError if it is anything else."""
    if not isinstance(data, Dataset):
        raise ValueError(
            f"a Dataset is needed, not a {type(data).__name__}; open one with kit.load"
        )
    return data


def open_packed(mouse: str, packed: Path, tiers: np.ndarray | None = None) -> Recording:
    """The recording in a folder of packed arrays, perhaps in another process or on another host.

    tiers: (T,) the tiers of a recording that was pickled; else the packed ones are used.
    Raises FileNotFoundError if there is no such folder, ValueError if it is damaged, and OSError if
    the system cannot read it.
    """
    if not packed.is_dir():
        raise FileNotFoundError(
            f"mouse {mouse} is not at {packed} on host {socket.gethostname()}; name a folder in "
            "KIT_DATA_DIR that every host sees at one path, and load again"
        )
    try:
        if not all(map(os.path.isfile, packed.iterdir())):  # a pipe may never end
            raise ValueError
        with np.load(packed / "meta.npz") as file:
            statistics = dict(file)
        meta = {name: statistics.pop(name) for name in META}
        names = tuple(statistics.pop("behavior_names", np.array(BEHAVIOR)).tolist())
        if tiers is not None:
            meta["tiers"] = tiers
        arrays: dict[str, Any] = dict.fromkeys(KINDS)
        for kind in KINDS:
            if f"{kind}_std" in statistics:  # else withheld or absent
                arrays[kind] = _open_array(packed / f"{kind}.npy")
        recording = Recording(mouse, **arrays, **meta, statistics=statistics, behavior_names=names)
    except (*READ_ERRORS, KeyError) as problem:
        require_readable(f"the packed copy {packed}", problem)
        raise ValueError(
            f"the packed copy {packed} is damaged; delete that folder and load again"
        ) from None
    return recording._from_files(packed)


def _open_array(file):
    try:
        return np.load(file, mmap_mode="r")
    except OSError:
        return np.load(file)  # some network drives cannot map files
