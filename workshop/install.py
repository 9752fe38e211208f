"""Install the kit from the folder that this file lies in, without a network.

    python install.py            into the folder sensorium-kit, here
    python install.py FOLDER     into another one

Needs Python, nothing else. Safe to run again: what is whole stays, what is missing is added, and
files of the kit that were changed by hand are kept.
"""

import argparse
import contextlib
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

STICK = Path(__file__).resolve().parent
MARK = ".from-offline-folder.json"  # says that a folder was made by this file, and from what
AGAIN = "copy the whole folder again, or make it again with `make offline`"
DATA_FOLDER = """\
import sys, kit
try:
    print(kit.data_folder())
except OSError as problem:
    sys.exit(str(problem))
"""


class Problem(Exception):
    """What went wrong and what to do, in one sentence for whoever sits at the keyboard."""


# ---- what can be known before anything is written ----


def this_python():
    """Version and platform that wheels depend on, such as ("3.11", "linux-x86_64")."""
    name = sysconfig.get_platform()
    if name.startswith("macosx"):  # "macosx-11.0-universal2" names no machine
        name = f"macosx-{platform.machine()}"
    return f"{sys.version_info[0]}.{sys.version_info[1]}", name


def read_contents(stick):
    try:
        return json.loads((stick / "contents.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise Problem(
            f"{stick} is not a whole offline folder (contents.json is missing or damaged); {AGAIN}"
        ) from None


def check_python(contents, found):
    wanted = contents["python"], contents["platform"]
    if found != wanted:
        raise Problem(
            f"this is Python {found[0]} on {found[1]}, and the packages here are for Python "
            f"{wanted[0]} on {wanted[1]}; run this file with Python {wanted[0]} (python{wanted[0]} "
            f"install.py, on Windows py -{wanted[0]} install.py), or have `make offline` run on a "
            "machine like this one"
        )


def check_whole(stick, contents):
    """Compare every file with what `make offline` wrote down: sticks get pulled out early."""
    broken = [
        name
        for name, known in contents["files"].items()
        if not (stick / name).is_file() or digest(stick / name) != known
    ]
    if broken:
        names = ", ".join(broken[:3]) + (", …" if len(broken) > 3 else "")
        raise Problem(
            f"{len(broken)} of the {len(contents['files'])} files here are missing or damaged "
            f"({names}); {AGAIN}"
        )


def check_target(folder, stick, contents):
    other = "name another folder: python install.py FOLDER"
    if folder == stick or stick in folder.parents:
        raise Problem(
            f"{folder} lies in the offline folder itself; {other}, on this machine's disk"
        )
    if folder.exists() and not folder.is_dir():
        raise Problem(f"{folder} is a file; {other}")
    if folder.is_dir() and not (folder / MARK).exists() and any(folder.iterdir()):
        raise Problem(f"{folder} holds other things and is left alone; {other}")
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(str(existing)).free
    if free < contents["room"] and not (folder / ".venv" / ".packages").exists():
        raise Problem(
            f"the kit takes {contents['room'] / 1e9:.1f} GB and {existing} has {free / 1e9:.1f} GB "
            f"left; make room, or {other}"
        )


# ---- the installation ----


def digest(path):
    with open(str(path), "rb") as file:
        found = hashlib.sha256()
        for block in iter(lambda: file.read(1 << 20), b""):
            found.update(block)
    return found.hexdigest()


def copy(source, target, changed=None):
    """Copy a file's content; it appears under its name whole or not at all.

    changed: the copy's time of change, in nanoseconds; else now.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    for left in target.parent.glob(f".{target.name}.*.part"):  # by a run that was killed
        with contextlib.suppress(OSError):  # another installation swept it away
            if time.time() - left.stat().st_mtime > 3600:  # a younger one may still be written
                left.unlink()
    try:
        shutil.copyfile(str(source), str(part))
        if changed is not None:
            os.utime(str(part), ns=(changed, changed))
        os.replace(str(part), str(target))
    finally:
        if part.exists():
            part.unlink()


def copy_repository(stick, folder, files):
    """Bring the kit's files up to date. Returns the names of those that were changed by hand.

    files: name -> digest. The mark remembers what an earlier run put there; a file that is no
    longer the same belongs to whoever changed it.
    """
    mark = folder / MARK
    folder.mkdir(parents=True, exist_ok=True)
    if not mark.exists():
        mark.write_text("{}", encoding="utf-8")
    try:
        before = json.loads(mark.read_text(encoding="utf-8"))
    except ValueError:  # interrupted while it was written: nothing is known of what lies there
        before = {}
    kept = []
    for name, known in files.items():
        target = folder / name
        found = digest(target) if target.exists() else None
        if found not in (None, known, before.get(name)):
            kept.append(name)
        elif found != known:
            copy(stick / "kit" / name, target)
    for name in set(before) - set(files):  # the kit has these no longer
        if (folder / name).is_file() and digest(folder / name) == before[name]:
            (folder / name).unlink()
    mark.write_text(json.dumps(files, indent=1), encoding="utf-8")
    return kept


def run(what, *command, **options):
    """Run a command and return what it printed; a failure becomes a Problem with its last lines."""
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        **options,
    )
    if done.returncode:
        said = "\n    ".join(done.stdout.strip().splitlines()[-4:])
        raise Problem(f"{what} did not work:\n    {said}\nput that right and run this file again")
    return done.stdout.strip()


def python_of(folder):
    windows = os.name == "nt"
    return folder / ".venv" / ("Scripts/python.exe" if windows else "bin/python")


def packages_are_there(folder, packages):
    """Whether .venv was finished here, with these very packages, and still runs."""
    venv = folder / ".venv"
    try:
        finished = (venv / ".packages").read_text(encoding="utf-8") == packages
        here = (venv / ".where").read_text(encoding="utf-8").strip() == str(folder)
        runs = subprocess.call([str(python_of(folder)), "-I", "-c", ""]) == 0
        return finished and here and runs
    except (OSError, ValueError):
        return False


def install_packages(stick, folder, packages):
    """Make .venv from the wheels. The stamp is taken away first and written last."""
    stamp = folder / ".venv" / ".packages"
    if stamp.exists():
        stamp.unlink()
    run("making .venv", sys.executable, "-I", "-m", "venv", "--clear", folder / ".venv")
    pip(
        "installing the packages",
        folder,
        *("--find-links", stick / "wheels", "--no-deps", "-r", stick / "packages.txt"),
    )


def pip(what, folder, *arguments):
    """Run pip in the new .venv, with nobody's settings and without an index."""
    command = [python_of(folder), "-I", "-X", "utf8", "-m", "pip", "--isolated"]
    options = ["--disable-pip-version-check", "--no-cache-dir", "-q", "--no-index"]
    run(what, *command, "install", *options, *arguments, cwd=str(folder))


def write_stamps(folder, packages):
    """What the Makefile looks at: packages complete, in which folder, and the kit itself."""
    for name, text in ((".where", f"{folder}\n"), (".packages", packages), (".kit", "")):
        (folder / ".venv" / name).write_text(text, encoding="utf-8")


def copy_samples(stick, data, files, times):
    """Copy the sample mice that the data folder lacks. Returns how many.

    Their times travel in contents.json, for a stick's own file system rounds them.
    """
    copied = 0
    for name in files:
        source, target = stick / "sample" / name, data / "sample" / name
        if target.exists() and target.stat().st_size == source.stat().st_size:
            continue
        copy(source, target, times[name])
        copied += 1
    return copied


def of(contents, part):
    """The files of one part of the folder: name within it -> digest."""
    start = part + "/"
    files = contents["files"].items()
    return {name[len(start) :]: known for name, known in files if name.startswith(start)}


def install(stick, folder, contents):
    packages = (stick / "packages.txt").read_text(encoding="utf-8")
    start = time.perf_counter()

    def took(what):
        nonlocal start
        print(f"{time.perf_counter() - start:6.1f} s  {what}", flush=True)
        start = time.perf_counter()

    check_whole(stick, contents)
    took(f"{len(contents['files'])} files are whole")
    kept = copy_repository(stick, folder, of(contents, "kit"))
    took(f"the kit's files are in {folder}")
    if kept:
        print(f"          left as they are, changed by hand: {', '.join(kept)}")
    if packages_are_there(folder, packages):
        took("the packages are installed already")
    else:
        print("          installing the packages, a minute or two …", flush=True)
        install_packages(stick, folder, packages)
        took(f"{len(packages.splitlines())} packages installed")
    pip("installing the kit", folder, "--no-deps", "--no-build-isolation", "-e", ".")
    write_stamps(folder, packages)
    took("the kit installed")
    python = [python_of(folder), "-I", "-X", "utf8", "-c"]
    data = Path(run("finding the data folder", *python, DATA_FOLDER).splitlines()[-1])
    samples = of(contents, "sample")
    copied = copy_samples(stick, data, samples, contents["times"])
    took(f"sample mice in {data}: {copied} files copied, {len(samples) - copied} there already")
    print(run("kit.doctor", *python, "import kit; kit.doctor()"))
    took("this machine looked at")


def next_lines(folder):
    """The two lines to type: into the folder, and open the notebooks."""
    inside = Path.cwd().resolve() in folder.parents
    place = str(folder.relative_to(Path.cwd().resolve()) if inside else folder)
    if os.name == "nt":
        return f'cd "{place}"', r".venv\Scripts\python -m jupyterlab --notebook-dir=notebooks"
    if shutil.which("make"):
        return f"cd {shlex.quote(place)}", "make lab"
    return f"cd {shlex.quote(place)}", ".venv/bin/python -m jupyterlab --notebook-dir=notebooks"


def main():
    sys.stdout.reconfigure(errors="replace")  # what the terminal cannot show becomes "?"
    parser = argparse.ArgumentParser(description="Install the kit without a network.")
    parser.add_argument("folder", nargs="?", default="sensorium-kit", help="where to; made if new")
    folder = Path(parser.parse_args().folder).expanduser().resolve()
    try:
        contents = read_contents(STICK)
        check_python(contents, this_python())
        check_target(folder, STICK, contents)
        install(STICK, folder, contents)
    except Problem as problem:
        print(f"\nNot installed: {problem}.", file=sys.stderr)
        return 1
    except OSError as problem:
        print(
            f"\nNot installed: {problem.filename or folder}: {(problem.strerror or '').lower()}; "
            "make room there or name a folder that can be written, then run this file again.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("\nStopped before the end; run this file again to go on.", file=sys.stderr)
        return 130
    print("\nReady. Type these two lines:\n\n    " + "\n    ".join(next_lines(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
