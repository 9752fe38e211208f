"""The official file layout of a recording: written, read, and packed into standardised arrays.

A zip or folder with one .npy file per trial and kind, and meta files; see `write` for its members.
"""

import io
import zipfile

import numpy as np
import torch
from torch.nn.functional import interpolate

from kit.catalog import progress, whole

TIERS = ("train", "validation", "test", "final_test")
META = {"tiers": "trials/tiers", "image_ids": "trials/frame_image_id",
        "trial_ids": "trials/trial_idx", "unit_ids": "neurons/unit_ids",
        "coordinates": "neurons/cell_motor_coordinates"}


def write(target, recording, statistics_from):
    """Write one recording as a zip in the official layout.

    recording: dict of arrays, one row a trial: images (T, 1, 144, 256) in 0-255, responses (T, N),
    behavior (T, 3), pupil_center (T, 2), tiers, trial_idx, frame_image_id; one row a neuron:
    unit_ids, cell_motor_coordinates (N, 3) in micrometres. statistics_from: (T,) bool, the trials
    that the mean and std files describe.
    """
    folder = target.stem
    with whole(target) as part, zipfile.ZipFile(part, "w") as archive:

        def put(member, array):
            member = zipfile.ZipInfo(f"{folder}/{member}.npy", (2022, 6, 15, 0, 0, 0))
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=False)
            # level 1: half the size of the images for little time; responses do not compress
            small = zipfile.ZIP_DEFLATED if "/images/" in member.filename else zipfile.ZIP_STORED
            archive.writestr(member, buffer.getbuffer(), small, 1)

        for kind in ("images", "responses", "behavior", "pupil_center"):
            values = recording[kind]
            for trial in progress(range(len(values)), desc=f"writing {kind}", unit="trial"):
                put(f"data/{kind}/{trial}", values[trial])
            for name, value in _statistics(values[statistics_from]).items():
                put(f"meta/statistics/{kind}/all/{name}", value)
        for name in ("unit_ids", "cell_motor_coordinates"):
            put(f"meta/neurons/{name}", recording[name])
        for name in ("tiers", "trial_idx", "frame_image_id"):
            put(f"meta/trials/{name}", recording[name])


def _statistics(values):
    """What the statistics folder holds: over all pixels of images, else over trials."""
    axis = None if values.ndim > 2 else 0
    mean = np.mean(values, axis)
    # trial by trial, as the squares of all images at once would fill half a gigabyte
    variance = np.mean([np.mean((value - mean) ** 2, axis) if axis is None else (value - mean) ** 2
                        for value in values], 0)
    return {"mean": mean, "std": np.sqrt(variance), "median": np.median(values, axis),
            "min": np.min(values, axis), "max": np.max(values, axis)}


class Source:
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
        if shape is not None and (array.shape != shape or array.dtype.kind not in "biuf"):
            raise ValueError(f"{name}.npy in {self.path} holds {array.dtype} of shape "
                             f"{array.shape}, expected numbers of shape {shape}; the recording is "
                             "damaged")
        return array


def pack(mouse, source, part, size):
    """Write the standardised arrays and meta.npz into the folder `part`."""
    meta = {name: source.read(f"meta/{file}") for name, file in META.items()}
    trials, neurons = len(meta["tiers"]), len(meta["unit_ids"])
    for name, values in meta.items():
        expected = {"unit_ids": (neurons,), "coordinates": (neurons, 3)}.get(name, (trials,))
        if values.shape != expected:
            raise ValueError(f"{META[name]}.npy in {source.path} has shape {values.shape}, "
                             f"expected {expected}; the recording is damaged")
    unknown = sorted(set(map(str, meta["tiers"].tolist())) - set(TIERS))
    if unknown:
        raise ValueError(f"{source.path} has {len(unknown)} unknown tiers ({unknown[0]!r}, …); "
                         f"known are {', '.join(TIERS)}")
    for name in ("unit_ids", "trial_ids"):
        ids, kinds = meta[name], "iu" if name == "unit_ids" else "iuU"
        if ids.dtype.kind not in kinds or len(np.unique(ids)) < len(ids):
            raise ValueError(f"{META[name]}.npy in {source.path} is not a list of ids, each once; "
                             "the recording is damaged")
    if not np.isfinite(meta["coordinates"]).all():
        raise ValueError(f"{META['coordinates']}.npy in {source.path} has values that are not "
                         "finite; the recording is damaged")

    raw = source.read("data/images/0").shape
    if len(raw) != 3 or raw[0] != 1:
        raise ValueError(f"data/images/0.npy in {source.path} has shape {raw}, expected one grey "
                         "image (1, height, width); only such recordings can be read")
    shapes = {"images": raw, "responses": (neurons,), "behavior": (3,), "pupil_center": (2,)}
    statistics = {}
    for kind, shape in shapes.items():
        packed_shape = (trials, 1, *size) if kind == "images" else (trials, *shape)
        mean, std = _standardisation(source, kind, shape)
        blocks = range(0, trials, 128)
        seen = False  # anything but zeros?
        with (part / f"{kind}.npy").open("wb") as out:  # a memory map would crash on a full disk
            np.lib.format.write_array_header_1_0(
                out, {"descr": "<f4", "fortran_order": False, "shape": packed_shape})
            for start in progress(blocks, desc=f"packing {mouse} {kind}", unit="block"):
                block = np.stack([source.read(f"data/{kind}/{trial}", shape).astype(np.float32)
                                  for trial in range(start, min(start + 128, trials))])
                if not np.isfinite(block).all() or (
                        kind == "responses" and (block < -0.01 * std).any()):
                    what = "not finite" if not np.isfinite(block).all() else "negative"
                    raise ValueError(f"data/{kind} in {source.path} has values that are {what}, in "
                                     f"trials {start} to {start + len(block) - 1}; the recording "
                                     "is damaged")
                seen = seen or block.any()
                block = (block - mean) / std
                if kind == "images" and shape[-2:] != size:
                    block = interpolate(torch.from_numpy(block), size=size, mode="bilinear",
                                        align_corners=False).numpy()  # (B, 1, H, W)
                out.write(block.astype("<f4").tobytes())
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
    shape = () if kind == "images" else shape
    for name, value in (("mean", mean), ("std", std)):
        if value.size != np.prod(shape) or not np.isfinite(value).all() or (std < 0).any():
            raise ValueError(f"meta/statistics/{kind}/all/{name}.npy in {source.path} has shape "
                             f"{value.shape}, expected {shape}, or values that are not finite or "
                             "negative; the recording is damaged")
    if kind == "responses" and std.any():
        floor = 0.01 * std.mean()  # so that silent neurons do not explode
        return mean, np.where(std > floor, std, floor)
    return mean, np.where(std > 0, std, 1).astype(np.float32)
