"""The kit from a shell: `python -m kit fetch`, train, submit, check, grade, rank and more."""

import argparse
import io
import os
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import kit
from kit.challenge import read_ground_truth, truth_file, watch
from kit.challenge.ground_truth import resolve_track
from kit.challenge.tracks import TRACKS
from kit.checks import expand_user, require, system_words
from kit.data.layout import RECORDED_SIZE
from kit.data.official import open_source
from kit.data.packing import recorded_size
from kit.files import atomic_write, is_first_process
from kit.hosting.publish import private_folder
from kit.pages.board import add_to_board, check_board, write_board
from kit.pages.class_report import SOLUTIONS, class_report
from kit.pages.ranking import find_changes

BASELINES = {
    "cnn": kit.cnn_baseline,
    "linear": kit.linear_baseline,
    "strong": kit.strong_baseline,
}
RECIPES = {
    "default": kit.TrainConfig,
    "quick": kit.TrainConfig.quick,
    "strong": kit.TrainConfig.strong,
    "sensorium2022": kit.TrainConfig.sensorium2022,
}
DATA = "sample+, sensorium+, … (see kit.load), a recording's id, or a path"
CHECKPOINT = "a model saved by train or kit.save"
TRUTH = "the folder of the ground truth, such as private, which withhold writes"
ARGUMENTS = {  # command -> its arguments and what they are; defaults stand in the functions below
    "fetch": {
        "recordings": DATA,
        "--size": "height and width of the images in pixels (default: about 36 64)",
    },
    "train": {
        "recordings": DATA,
        "out": "file for the trained model, .safetensors",
        "--model": "which baseline (default: cnn)",
        "--channels": "width of the core (default: 64); 16 is quick",
        "--recipe": "settings of the training; quick takes half a minute, strong is for the strong "
        "baseline, sensorium2022 trained the published ones",
        "--epochs": "upper bound, instead of the recipe's",
        "--seed": "whole number that fixes the order of the images (default: 42)",
        "--device": "cpu, cuda, mps or auto (default: auto)",
        "--checkpoint": "file for the state after every epoch; the same command continues from it",
    },
    "submit": {
        "checkpoint": CHECKPOINT,
        "data": DATA,
        "folder": "folder for the two files",
    },
    "check": {"submission": "a submission file, or the folder with both", "data": DATA},
    "grade": {
        "submission": "a submission file",
        "ground_truth": "the ground-truth file of the same test set",
    },
    "rank": {
        "folder": "a folder, or a zip, that holds a folder, a zip or a CSV file for each entry; or "
        "the archive of a ranking",
        "truth": f"{TRUTH}; an archive holds its own",
        "--track": "sensorium is ranked by correlation to average, sensorium+ by single-trial "
        "correlation (default: what track.txt beside the truth says)",
        "--final": "rank the final test set instead of the live one",
        "--page": "also write the ranking as one HTML page",
        "--save": "also write page, CSV and JSON into this folder, and say what changed there",
        "--archive": "also write a zip of all that it takes to rank again; it holds the truth",
        "--board": "also add the entries to the board in this folder",
        "--title": "title of the challenge, for page, archive and board",
        "--date": "such as 2027-06-30, for them (default: today)",
        "--watch": "go on, and write the page again when entries arrive; looks every 10 seconds",
        "--seed": "whole number that fixes the resamples (default: 0)",
    },
    "board": {
        "folder": "the board: a file for each entry, which rank --board writes",
        "--check": "write nothing, but fail if the page is not what the files give",
    },
    "withhold": {
        "data": DATA,
        "out": "a new folder: public is for all, private for you",
        "--track": "sensorium hides the behaviour of every trial (default: sensorium+ if the "
        "recording has behaviour)",
        "--mouse": "public id of the mouse (default: the recording's)",
        "--license": "address of the licence, for croissant.json like the next four",
        "--creator": "lab or institution that publishes the recording",
        "--url": "page of the recording",
        "--date": "of publication, such as 2027-03-01",
        "--citation": "how to cite the recording",
        "--size": "height and width of the public images in pixels (default: as recorded)",
    },
    "bundle": {
        "data": f"the recording that is public: {DATA}",
        "truth": TRUTH,
        "out": "the zip to write",
        "checkpoint": f"the baseline: {CHECKPOINT}",
        "--track": "sensorium without behaviour, sensorium+ with it (default: as the recording is)",
        "--title": "title of the challenge",
        "--organizer": "who organises it",
        "--contact": "an address for questions",
        "--baseline": "what the pages call the model",
        "--public-data": "where participants find the recording's zip",
        "--reward": "what the best get, in words",
        "--live-start": "UTC, such as 2027-03-01 or '2027-03-01 12:00' (default: today)",
        "--live-end": "default: in 90 days",
        "--final-start": "on a later day than the end of the live phase (default: in 91 days)",
        "--final-end": "default: in 105 days; '' for a phase that stays open",
        "--release": "when truth, entries and ranking are published (default: 30 days later)",
        "--scored-final": "let the platform score the final phase, and so hold its truth",
        "--solution": "add the baseline's entry, which the platform shows to everyone",
    },
    "class-report": {
        "folder": "a folder for each learner, with exercise notebooks or an answers.py",
        "--page": "the page to write (default: class-report.html)",
        "--solutions": "the folder notebooks/solutions, if the kit was installed without it",
    },
    "doctor": {},
}
OPTIONS: dict[str, dict[str, Any]] = {  # arguments that are not simply one text
    "recordings": {"nargs": "+", "metavar": "data"},
    "--size": {"type": int, "nargs": 2, "metavar": ("H", "W")},
    "--model": {"choices": BASELINES},
    "--recipe": {"choices": RECIPES},
    "--track": {"choices": TRACKS},
    "rank truth": {"nargs": "?"},
    **{name: {"type": int} for name in ["--channels", "--epochs", "--seed"]},
    **{
        name: {"metavar": "PATH"} for name in ["--checkpoint", "--page", "--solutions", "--archive"]
    },
    **{name: {"metavar": "FOLDER"} for name in ["--save", "--board"]},
    **{name: {"action": "store_true"} for name in ["--final", "--check", "--solution"]},
    "--scored-final": {"action": "store_false", "dest": "blind_final"},
    "--watch": {"nargs": "?", "const": 10, "type": float, "metavar": "SECONDS"},
}


def main(arguments: Sequence[str] | None = None) -> int | None:
    """Run one command. Returns the exit status: 2, after one sentence, if the input is wrong."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # what the terminal cannot show becomes "?"
        sys.stdout.reconfigure(errors="replace")
    options = vars(_parser().parse_args(arguments))
    command = options.pop("command")
    run = options.pop("run")
    try:
        return run(**options)
    except (ValueError, OSError, FloatingPointError) as problem:
        text = problem
        if isinstance(problem, OSError) and problem.errno is not None:  # the system's own words
            text = (
                f"{problem.filename or 'a file'} cannot be used: {system_words(problem)}; "
                "correct that, or name another place"
            )
        print(f"kit {command}: {text}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"kit {command}: stopped; run it again to continue", file=sys.stderr)
        return 130


def _parser():
    """The parser of all commands: it leaves out what is not given."""
    parser = argparse.ArgumentParser(prog="kit", description="Predict mouse primary visual cortex.")
    commands = parser.add_subparsers(dest="command", required=True)
    runs = _fetch, _train, _submit, _check, _grade, _rank, _board, _withhold, _bundle, _class_report
    for run in (*runs, _doctor):
        name = run.__name__.strip("_").replace("_", "-")
        text = run.__doc__
        command = commands.add_parser(
            name, help=text, description=text, argument_default=argparse.SUPPRESS
        )
        command.set_defaults(run=run)
        for argument, help_text in ARGUMENTS[name].items():
            command.add_argument(
                argument,
                help=help_text,
                **OPTIONS.get(f"{name} {argument}", OPTIONS.get(argument, {})),
            )
    return parser


# ---- the commands ----


def _fetch(recordings, size=None):
    """Download or simulate recordings and pack them."""
    print(kit.load(recordings, size and tuple(size)))


def _train(recordings, out, checkpoint=None, model="cnn", channels=None, **settings):
    """Train a baseline and save it."""
    build = BASELINES[model] if channels is None else partial(BASELINES[model], channels=channels)
    config = RECIPES[settings.pop("recipe", "default")](**settings)
    if checkpoint and Path(checkpoint).resolve() == Path(out).resolve():
        raise ValueError(f"{out} cannot be both model and checkpoint; name another file")
    data = kit.load(recordings)
    network = build(data)
    if not is_first_process():  # that one prints and saves for all
        kit.train(network, data, config, checkpoint)
        return
    with atomic_write(out) as temporary:  # fails before the training if it cannot write
        print(kit.train(network, data, config, checkpoint))
        print(kit.score(network, data, "validation"))
        kit.save(network, temporary)
    print(f"saved to {out}")


def _submit(checkpoint, data, folder):
    """Write the two official submission files of a saved model."""
    print(*kit.submit(kit.load_model(checkpoint), kit.load(data), folder), sep="\n")


def _check(submission, data):
    """Check a submission file, or the folder with both."""
    report = kit.check(submission, kit.load(data))
    print(report)
    return 0 if report else 2


def _grade(submission, ground_truth):
    """Grade a submission file against its ground truth."""
    print(kit.grade(submission, ground_truth))


def _rank(folder, truth=None, page=None, watch=None, **options):
    """Rank the entries in a folder, and say which cannot be told apart."""
    settings = {name: options.pop(name) for name in ("track", "final", "seed") if name in options}

    def show_ranking():
        ranking = kit.rank(folder, truth, **settings)
        print(ranking)
        _write_ranking(ranking, page, watch, **options)

    if watch is None:
        show_ranking()
    elif truth is None:
        raise ValueError("--watch needs the folder of the ground truth")
    else:
        _require_watchable(folder, page, watch, map(options.get, ("save", "archive", "board")))
        tier = "final_test" if settings.get("final") else "test"
        truth_path = truth_file(Path(truth), tier)
        # checked first: later problems are of entries
        resolve_track(settings.get("track"), read_ground_truth(truth_path), truth_path)
        _watch(folder, truth_path, watch, show_ranking)


def _write_ranking(ranking, page, watch, save=None, archive=None, board=None, **titles):
    """Write what the options of `rank` ask for."""
    ranking = ranking.titled(**titles)
    if page:
        print(f"page: {ranking.page(page, watch)}")
    if save:
        print(find_changes(ranking, Path(save)) or "no earlier ranking there")
        print("saved:", *ranking.save(save))
    if archive:
        print(f"archive: {ranking.archive(archive)}")
    if board:
        print(f"board: {add_to_board(ranking, board)}")


def _board(folder, check=False):
    """Make the page of a board again from its entries' files, or check it."""
    if check:
        check_board(folder)
        print(f"{folder}: the page is what its entries give")
    else:
        print(f"board: {write_board(folder)}")


def _require_watchable(folder, page, seconds, others):
    """Raise ValueError unless a page outside an existing folder is to follow its entries."""
    require("watch", seconds, float, (1, 86_400))
    if not os.path.isdir(folder):
        raise ValueError(f"{folder} is not a folder; make it, for the entries that will arrive")
    outputs = [Path(path).resolve() for path in (page, *others) if path]
    if not page or any(path.is_relative_to(Path(folder).resolve()) for path in outputs):
        raise ValueError("--watch needs a page outside the folder of entries; give --page PATH")


def _watch(folder, truth_path, seconds, show_ranking):
    """Show the ranking again whenever entries arrive. Never ends."""

    def refresh():
        done = True
        try:
            show_ranking()
        except (ValueError, OSError) as problem:  # no entry that can be ranked, or a drive is away
            print(problem)
            done = isinstance(problem, ValueError)  # a drive may come back
        print(f"{time.strftime('%H:%M:%S')} watching {folder}; Ctrl-C ends", flush=True)
        return done

    watch([Path(folder).resolve(), truth_path], seconds, refresh)


def _withhold(data, out, size=None, **settings):
    """Make a challenge of a recording with known test responses."""
    config = kit.WithholdConfig(**settings)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    with private_folder(out) as private:
        path = expand_user(data)  # as kit.load does; not every shell expands "~"
        folder = None
        if os.path.exists(path):
            folder = private
            if size is None:
                with open_source(path) as source:
                    size = recorded_size(source)
        recording = kit.load(data, size or RECORDED_SIZE, folder).mouse
        paths = kit.withhold(recording, out, config)
        del recording  # Windows removes no file that is open
    print(*paths, sep="\n")


def _bundle(data, truth, out, checkpoint, **settings):
    """Write a challenge as a bundle for the hosting platform Codabench."""
    model = kit.load_model(checkpoint)
    recordings = kit.load(data)
    config = kit.BundleConfig(**settings)
    print(kit.bundle(recordings, truth, out, model, config))
    if config.blind_final:
        print(
            f"the final truth is not in it: keep {truth}, and when the final phase is over, rank "
            f"the bulk download: python -m kit rank bulk_submissions.zip {truth} --final"
        )


def _class_report(folder, page="class-report.html", solutions=SOLUTIONS):
    """Compare a class's answers to the exercises with the solutions."""
    report = class_report(folder, solutions)
    print(report)
    print(f"page: {report.page(page)}")


def _doctor():
    """Check this machine and say what it lacks."""
    return 0 if kit.doctor() else 2


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # see kit/__init__.py
    sys.exit(main())
