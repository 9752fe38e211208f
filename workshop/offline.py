"""Pack all that a workshop without a network needs into build/offline, and try it.

The folder holds the packages as wheels, at the versions of .venv, the repository's files, the
sample mice and install.py. It gets its name only after it has been installed from, and notebook 00
has run there, with the network cut off. Run by `make offline`.
"""

import argparse
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import install

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "offline"
PART = ROOT / "build" / "offline.part"  # the folder until it is whole and tried
TRIAL = ROOT / "build" / "offline-trial"
MADE_FOR = ".made-for"  # Python and platform of the wheels, so that others are not used again

# Runs a command in a network namespace, whose loopback is switched off at first; Jupyter needs it.
LOOPBACK = """\
import fcntl, os, socket, struct, sys
with socket.socket() as anyone:
    fcntl.ioctl(anyone, 0x8914, struct.pack("16sH22x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
os.execv(sys.argv[1], sys.argv[1:])
"""


# ---- what goes in ----


def kit_files(root, solutions):
    """Names of the repository's files that go in. solutions: whether those to the exercises do."""
    names = repository_files(root)
    return [name for name in names if solutions or not name.startswith("notebooks/solutions/")]


def repository_files(root):
    """Names of the tracked files; without git (a downloaded zip), of all but the ignored ones."""
    if (root / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True)
        if listed.returncode == 0:
            return [name for name in listed.stdout.split("\0") if name and (root / name).is_file()]
    lines = (root / ".gitignore").read_text(encoding="utf-8").splitlines()
    ignored = [line.strip().rstrip("/") for line in lines if line and line[0] != "#"] + [".git"]
    names = []
    for place, folders, files in os.walk(root):
        for kind in (folders, files):
            kind[:] = [n for n in kind if not any(fnmatch.fnmatch(n, i) for i in ignored)]
        names += [(Path(place) / file).relative_to(root).as_posix() for file in files]
    return sorted(names)


def installed_packages():
    """The packages of .venv as name==version: all but pip, which a new .venv has, and the kit."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "list"]
    options = ["--format=freeze", "--exclude-editable", "--exclude", "pip"]
    listed = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    return sorted(listed.stdout.split(), key=str.lower)


def key(name, version):
    """One spelling for a package at a version, in a list or in the name of a wheel."""
    return re.sub(r"[-_.]+", "-", name).lower(), version.replace("_", "-").lower()


def wheels_in(folder):
    """Key -> path of the wheels in a folder."""
    return {key(*wheel.name.split("-")[:2]): wheel for wheel in sorted(folder.glob("*.whl"))}


def is_whole(wheel):
    try:
        with zipfile.ZipFile(wheel) as file:
            return file.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def gather_wheels(packages, part, earlier, fetch):
    """Bring part/wheels to hold one wheel a package. Returns how many were fetched.

    earlier: a finished folder, or one whose making was interrupted: its whole wheels are used again
    if they are for this Python. fetch: called with the packages still missing and a folder.
    """
    made_for = " ".join(install.this_python())
    wanted = {key(*package.split("==")): package for package in packages}
    wheels = part / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    found = {}
    for folder in (part, earlier):
        label = folder / MADE_FOR
        if label.is_file() and label.read_text(encoding="utf-8") == made_for:
            for name, wheel in wheels_in(folder / "wheels").items():
                if name in wanted and name not in found and is_whole(wheel):
                    found[name] = wheel
    for wheel in wheels.iterdir():
        if wheel not in found.values():  # stale, broken or for another Python
            wheel.unlink()
    (part / MADE_FOR).write_text(made_for, encoding="utf-8")
    for wheel in found.values():
        if wheel.parent != wheels:
            link(wheel, wheels / wheel.name)
    missing = [wanted[name] for name in sorted(set(wanted) - set(found))]
    if missing:
        fetch(missing, wheels)
    still = set(wanted) - set(wheels_in(wheels))
    if still:
        raise install.Problem(f"no wheel came for {', '.join(wanted[name] for name in still)}")
    return len(missing)


def link(source, target):
    """The same file under a second name; a copy where the file system knows no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def fetcher(cpu_wheels):
    """A function that has pip fetch or build wheels. cpu_wheels: where else torch's may lie."""

    def pip(packages, wheels, *options):
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "wheel"]
        command += ["--no-deps", "--wheel-dir", wheels, *options, *packages]
        install.run("fetching the packages", *command)

    def fetch(packages, wheels):
        local = [package for package in packages if "+" in package]  # torch==…+cpu: as the Makefile
        if local:
            try:
                pip(local, wheels)
            except install.Problem:
                if not cpu_wheels:
                    raise
                pip(local, wheels, "--extra-index-url", cpu_wheels)
        if len(local) < len(packages):
            pip([package for package in packages if "+" not in package], wheels)

    return fetch


def sample_files():
    """The sample mice and their truths, simulated if need be."""
    import kit  # here, because it takes seconds

    for mouse in kit.data.simulation.MICE:
        recording = kit.data.simulation.fetch(mouse)
        yield from (recording, recording.with_name(recording.stem + "-truth.npz"))


def copy_all(pairs):
    """Copy files with their times. pairs: (source, target)."""
    for source, target in pairs:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def write_contents(part):
    """What install.py compares the folder with: written last, whole or not at all."""
    paths = sorted(path for path in part.rglob("*") if path.is_file() and path.name != MADE_FOR)
    python, platform = install.this_python()
    unpacked = sum(
        member.file_size
        for wheel in (part / "wheels").glob("*.whl")
        for member in zipfile.ZipFile(wheel).infolist()
    )
    mice = size(part / "sample")
    contents = {
        "python": python,
        "platform": platform,
        "room": int(unpacked * 1.3) + mice,  # the packages with their bytecode
        "files": {path.relative_to(part).as_posix(): install.digest(path) for path in paths},
        "times": {path.name: path.stat().st_mtime_ns for path in (part / "sample").glob("*")},
    }
    text = json.dumps(contents, indent=1)
    (part / "contents.tmp").write_text(text, encoding="utf-8")
    os.replace(part / "contents.tmp", part / "contents.json")


def pack(cpu_wheels, solutions, took):
    for name in ("contents.json", "contents.tmp"):
        (PART / name).unlink(missing_ok=True)
    for name in ("kit", "sample"):
        shutil.rmtree(PART / name, ignore_errors=True)
    packages = installed_packages()
    fetched = gather_wheels(packages, PART, FOLDER, fetcher(cpu_wheels))
    (PART / "packages.txt").write_text("\n".join(packages) + "\n", encoding="utf-8")
    took(f"{len(packages)} wheels, {fetched} of them new")
    copy_all((ROOT / name, PART / "kit" / name) for name in kit_files(ROOT, solutions))
    copy_all((path, PART / "sample" / path.name) for path in sample_files())
    copy_all([(ROOT / "workshop" / "install.py", PART / "install.py")])
    write_contents(PART)
    took(f"repository, sample mice and install.py: {size(PART) / 1e6:.0f} MB in all")


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# ---- the trial ----


def without_network():
    """The start of a command line that cuts the network off; empty where the system cannot."""
    for option in ("-rn", "-n"):  # as anyone; as root, where that is forbidden
        prefix = ["unshare", option, sys.executable, "-c", LOOPBACK]
        try:
            if not subprocess.run(
                [*prefix, sys.executable, "-c", ""], capture_output=True
            ).returncode:
                return prefix
        except OSError:  # no unshare: not Linux
            break
    return []


def bare_environment(trial):
    """The environment of a laptop that has never seen the kit, and no index for pip."""
    ours = ("PIP_", "PYTHON", "KIT_", "VIRTUAL_ENV", "CONDA", "JUPYTER", "IPYTHON", "XDG_", "MAKE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    home = str(trial / "home")
    return {
        **kept,
        **{"HOME": home, "USERPROFILE": home, "KIT_DATA_DIR": str(trial / "data")},
        **{"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"},
    }


def try_out(stick, trial, took):
    """Install from the folder with the network cut off, then run notebook 00 there."""
    prefix = without_network()
    print(
        "trying it " + ("with the network cut off" if prefix else
        "with pip's index switched off: this system cannot cut the network off for one program")
    )  # fmt: skip
    shutil.rmtree(trial, ignore_errors=True)
    (trial / "home").mkdir(parents=True)
    options = {"env": bare_environment(trial), "cwd": trial}
    base = getattr(sys, "_base_executable", sys.executable)  # what made .venv, as on a laptop
    there = trial / "sensorium-kit"
    steps = [("install.py", [base, stick / "install.py"], options)]
    options = {**options, "cwd": there}
    if os.name != "nt" and shutil.which("make"):
        ready = [shutil.which("make"), "--question", ".venv/.kit"]
        steps.append(("make finds nothing left to install", ready, options))
    notebook = [install.python_of(there), "notebooks/run.py", "00"]
    steps.append(("notebook 00", notebook, options))
    try:
        for what, command, where in steps:
            done = subprocess.run([*prefix, *map(str, command)], **where)
            if done.returncode:
                raise install.Problem(f"{what}: the trial ended with status {done.returncode}")
            took(f"trial: {what}")
    finally:
        shutil.rmtree(trial, ignore_errors=True)


def put_in_place(part, folder):
    """Give the tried folder its name; the one before it goes."""
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(part, folder)
    shutil.rmtree(old, ignore_errors=True)


def main():
    sys.stdout.reconfigure(errors="replace")  # what the terminal cannot show becomes "?"
    parser = argparse.ArgumentParser(description="Pack a folder that installs without a network.")
    parser.add_argument("--cpu-wheels", metavar="URL", help="where torch's CPU wheels may be found")
    parser.add_argument(
        "--without-solutions", action="store_true", help="leave notebooks/solutions out"
    )
    options = parser.parse_args()
    start = time.perf_counter()

    def took(what):
        nonlocal start
        print(f"{time.perf_counter() - start:6.1f} s  {what}", flush=True)
        start = time.perf_counter()

    try:
        pack(options.cpu_wheels, not options.without_solutions, took)
        try_out(PART, TRIAL, took)
        put_in_place(PART, FOLDER)
    except (install.Problem, OSError, subprocess.CalledProcessError) as problem:
        print(f"FAILED: {problem}; what is whole is kept for the next run", flush=True)
        return 1
    except KeyboardInterrupt:
        print("FAILED: stopped; what is whole is kept for the next run", flush=True)
        return 130
    print(f"{FOLDER.relative_to(ROOT)} holds {size(FOLDER) / 1e6:.0f} MB; copy it to the sticks.")
    print("OK")
    return 0


if __name__ == "__main__":
    sys.exit(main())
