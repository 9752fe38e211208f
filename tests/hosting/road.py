"""A challenge on its way from the recording to the platform, and the search for its final truth."""

import io
import re
import zipfile

import numpy as np
import tiny
import withheld

import kit
from kit.challenge.tracks import TRUTH_FILES

NUMBER = re.compile(rb"(?<![\w.])\d+\.?\d*(?:[eE][-+]?\d+)?(?![\w.])")


def contents(path):
    """(name, content) of a file, or of all files in a folder, and of all that is inside of them."""
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    todo = [(str(each), each.read_bytes()) for each in files]
    while todo:
        name, content = todo.pop()
        yield name, content
        if zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                todo += [(f"{name}/{each}", archive.read(each)) for each in archive.namelist()]


class Road:
    """A challenge on its way: the recording, what is public, what is private, and the bundles."""

    def __init__(self, folder, track):
        arrays = tiny.arrays(test={"test": (4, 4, 3, 3), "final_test": (4, 3, 3)}, hashed=False)
        tiers = arrays["tiers"]
        arrays["trial_idx"] = np.random.default_rng(5).permutation(len(tiers)) + 5_000_000_000
        arrays["frame_image_id"] = arrays["frame_image_id"] + 7_000_000_000_000
        final = tiers == "final_test"
        arrays["responses"] *= 20
        arrays["responses"][final] += 9_003  # no other number lies there, also divided by a std
        mouse = withheld.load(arrays, folder / "source", size=(18, 32), seen=~final)
        self.public, self.private = kit.withhold(
            mouse,
            folder / "mine",
            kit.WithholdConfig(track, seed=1, creator="Us", url="http://a.b"),
        )
        self.data = kit.load(self.public, size=(18, 32), folder=folder / "data")
        self.model = kit.linear_baseline(self.data, channels=2)
        self.folder = folder
        public_std = arrays["responses"][np.isin(tiers, ["train", "validation"])].std(0)
        raw = arrays["responses"][final].astype(float)
        truth = kit.challenge.read_ground_truth(self.private / TRUTH_FILES["final_test"])
        self.numbers = np.sort(np.concatenate([
            raw.ravel(), (raw / public_std).ravel(), truth.responses.ravel()
        ]))  # fmt: skip
        self.originals = arrays["trial_idx"][final], arrays["frame_image_id"][final]

    def bundle(self, **settings):
        path = self.folder / f"{len(settings)}.zip"
        return kit.bundle(self.data, self.private, path, self.model, kit.BundleConfig(**settings))


def numbers_in(content):
    """All numbers of a content: of an array if it is one, else of its digits."""
    if content.startswith(b"\x93NUMPY"):
        array = np.load(io.BytesIO(content))
        return array.astype(float).ravel() if array.dtype.kind in "biuf" else np.empty(0)
    return np.array([float(digits) for digits in NUMBER.findall(content)])


def holds_numbers(content, secrets):
    """Whether a secret is in a content: its bytes as a float, or a number that rounds it."""
    floats = [secret for kind in ("<f4", ">f4", "<f8", ">f8") for secret in secrets.astype(kind)]
    if any(secret.tobytes() in content for secret in floats):
        return True
    values = numbers_in(content)
    after = secrets.searchsorted(values).clip(1, len(secrets) - 1)
    gap = np.minimum(np.abs(secrets[after] - values), np.abs(secrets[after - 1] - values))
    return bool((gap <= 1e-5 * values).any() and (values[gap <= 1e-5 * values] > 0).any())


def order_in(content, trials):
    """The trials in the order in which a content has them, or None if it lacks one."""
    for kind in ("ascii", "utf-32-le"):
        places = [content.find(trial.encode(kind)) for trial in trials]
        if min(places) >= 0:
            return [trials[place] for place in np.argsort(places)]
    return None
