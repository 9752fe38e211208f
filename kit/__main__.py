"""The kit from a shell: `python -m kit fetch`, train, submit, check, grade, rank and more."""

import argparse
import io
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import kit
from kit.challenge import read_ground_truth, truth_file, watch
from kit.challenge.ground_truth import resolve_track
from kit.challenge.tracks import TRACKS
from kit.checks import expand_user, system_words
from kit.files import atomic_write, is_first_process
from kit.hosting.publish import private_folder

BASELINES = {"cnn": kit.cnn_baseline, "linear": kit.linear_baseline}
RECIPES = {
    "default": kit.TrainConfig,
    "quick": kit.TrainConfig.quick,
    "sensorium2022": kit.TrainConfig.sensorium2022,
}
BUNDLE = {  # settings of a challenge -> what they are
    "title": "title of the challenge",
    "organizer": "who organises it",
    "contact": "an address for questions",
    "baseline": "what the pages call the model",
    "public_data": "where participants find the recording's zip",
    "live_start": "UTC, such as 2027-03-01 or '2027-03-01 12:00' (default: today)",
    "live_end": "default: in 90 days",
    "final_start": "later than the end of the live phase (default: in 91 days)",
    "final_end": "default: in 105 days; '' for a phase that stays open",
}


def main(arguments: Sequence[str] | None = None) -> int | None:
    """Run one command. Returns the exit status: 2, after one sentence, if the input is wrong."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # what the terminal cannot show becomes "?"
        sys.stdout.reconfigure(errors="replace")
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, OSError, FloatingPointError) as problem:
        said = problem
        if isinstance(problem, OSError) and problem.errno is not None:  # the system's own words
            said = (
                f"{problem.filename or 'a file'} cannot be used: {system_words(problem)}; "
                "correct that, or name another place"
            )
        print(f"kit {options.command}: {said}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"kit {options.command}: stopped; run it again to continue", file=sys.stderr)
        return 130


def _fetch(options):
    print(kit.load(options.data, size=tuple(options.size)))


def _train(options):
    changes = {name: getattr(options, name) for name in ("epochs", "seed", "device")}
    changes = {name: value for name, value in changes.items() if value is not None}
    config = RECIPES[options.recipe](**changes)
    if options.checkpoint and Path(options.checkpoint).resolve() == Path(options.out).resolve():
        raise ValueError(f"{options.out} cannot be both model and checkpoint; name another file")
    data = kit.load(options.data)
    model = BASELINES[options.model](data, channels=options.channels)
    if not is_first_process():  # that one prints and saves for all
        kit.train(model, data, config, options.checkpoint)
        return
    with atomic_write(options.out) as temporary:  # fails before the training if it cannot write
        print(kit.train(model, data, config, options.checkpoint))
        print(kit.score(model, data, "validation"))
        kit.save(model, temporary)
    print(f"saved to {options.out}")


def _submit(options):
    model, data = kit.load_model(options.checkpoint), kit.load(options.data)
    print(*kit.submit(model, data, options.folder), sep="\n")


def _check(options):
    report = kit.check(options.submission, kit.load(options.data))
    print(report)
    return 0 if report else 2


def _grade(options):
    print(kit.grade(options.submission, options.ground_truth))


def _rank(options):
    if options.watch is None:
        _rank_once(options)
        return
    folder, page = Path(options.folder).resolve(), Path(options.page or "").resolve()
    if not options.page or page.is_relative_to(folder):
        raise ValueError(
            "--watch refreshes a page that lies outside the folder of entries; give --page PATH"
        )
    if not 1 <= options.watch <= 86_400:
        raise ValueError(
            f"--watch {options.watch:g} is not possible; give the seconds between two "
            "looks, from 1 to 86400, such as 10"
        )
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; make it, for the entries that will arrive")
    tier = "final_test" if options.final else "test"
    truth = truth_file(Path(options.truth), tier)
    resolve_track(options.track, read_ground_truth(truth), truth)  # later problems are of entries

    def refresh():
        done = True
        try:
            _rank_once(options)
        except ValueError as problem:  # no entry yet, or none that can be ranked
            print(problem)
        except OSError as problem:  # a drive that is away or full may come back
            print(problem)
            done = False
        print(f"{time.strftime('%H:%M:%S')} watching {options.folder}; Ctrl-C ends", flush=True)
        return done

    watch([folder, truth], options.watch, refresh)


def _rank_once(options):
    ranking = kit.rank(
        options.folder, options.truth, options.track, options.final, seed=options.seed
    )
    print(ranking)
    if options.page:
        print(f"page: {ranking.page(options.page, options.watch)}")


def _withhold(options):
    config = kit.WithholdConfig(options.track, mouse=options.mouse, license=options.license)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    with private_folder(options.out) as private:
        path = expand_user(options.data)  # as kit.load does; not every shell expands "~"
        folder = private if os.path.exists(path) else None  # all know the others
        data = kit.load(options.data, options.size, folder)
        paths = kit.withhold(data.mouse, options.out, config)
        del data  # Windows removes no file that is open
    print(*paths, sep="\n")


def _bundle(options):
    changes = {name: getattr(options, name) for name in ("track", *BUNDLE)}
    model, data = kit.load_model(options.checkpoint), kit.load(options.data)
    config = kit.BundleConfig(
        **{name: value for name, value in changes.items() if value is not None}
    )
    print(kit.bundle(data, options.truth, options.out, model, config))


def _doctor(_):
    return 0 if kit.doctor() else 2


def _parser():
    parser = argparse.ArgumentParser(prog="kit", description="Predict mouse primary visual cortex.")
    commands = parser.add_subparsers(dest="command", required=True)

    def add_command(run, text):
        command = commands.add_parser(run.__name__.strip("_"), help=text, description=text)
        command.set_defaults(run=run)
        return command.add_argument

    data = "sample+, sensorium+, … (see kit.load), a recording's id, or a path"
    add = add_command(_fetch, "download or simulate recordings and pack them")
    add("data", help=data, nargs="+")
    add(
        "--size",
        type=int,
        nargs=2,
        default=(36, 64),
        metavar=("H", "W"),
        help="height and width of the images in pixels (default: 36 64)",
    )
    add = add_command(_train, "train a baseline and save it")
    add("data", help=data, nargs="+")
    add("out", help="file for the trained model, .safetensors")
    add("--model", choices=BASELINES, default="cnn", help="which baseline (default: cnn)")
    add("--channels", type=int, default=64, help="width of the core (default: 64); 16 is quick")
    add(
        "--recipe",
        choices=RECIPES,
        default="default",
        help="settings of the training; quick "
        "takes half a minute, sensorium2022 trained the published baselines",
    )
    add("--epochs", type=int, help="upper bound, instead of the recipe's")
    add("--seed", type=int, help="whole number that fixes the order of the images (default: 42)")
    add("--device", help="cpu, cuda, mps or auto (default: auto)")
    add(
        "--checkpoint",
        metavar="PATH",
        help="file for the state after every epoch; the same command continues from it",
    )
    add = add_command(_submit, "write the two official submission files of a saved model")
    add("checkpoint", help="a model saved by train or kit.save")
    add("data", help=data)
    add("folder", help="folder for the two files")
    add = add_command(_check, "check a submission file, or the folder with both")
    add("submission", help="a submission file, or the folder with both")
    add("data", help=data)
    add = add_command(_grade, "grade a submission file against its ground truth")
    add("submission", help="a submission file")
    add("ground_truth", help="the ground-truth file of the same test set")
    add = add_command(_rank, "rank a folder of entries, and say which cannot be told apart")
    add("folder", help="a folder with one folder, or one CSV file, for each entry")
    add("truth", help="the folder of the ground truth")
    add(
        "--track",
        choices=TRACKS,
        help="sensorium is ranked by correlation to average, "
        "sensorium+ by single-trial correlation (default: what track.txt beside the truth says)",
    )
    add("--final", action="store_true", help="rank the final test set instead of the live one")
    add("--page", metavar="PATH", help="also write the ranking as one HTML page")
    add(
        "--watch",
        metavar="SECONDS",
        nargs="?",
        const=10,
        type=float,
        help="go on, and write the page again when entries arrive; looks every 10 seconds",
    )
    add("--seed", type=int, default=0, help="whole number that fixes the resamples (default: 0)")
    add = add_command(_withhold, "make a challenge of a recording with known test responses")
    add("data", help=data)
    add("out", help="a new folder: public is for all, private for you")
    add(
        "--track",
        choices=TRACKS,
        help="sensorium hides the behaviour of every trial (default: "
        "sensorium+ if the recording has behaviour)",
    )
    add("--mouse", help="public id of the mouse (default: the recording's)")
    add("--license", metavar="URL", help="of the licence, for croissant.json")
    add(
        "--size",
        type=int,
        nargs=2,
        default=(144, 256),
        metavar=("H", "W"),
        help="height and width of the public images in pixels (default: 144 256, as recorded)",
    )
    add = add_command(_bundle, "write a challenge as a bundle for the hosting platform Codabench")
    add("data", help=f"the recording that is public: {data}")
    add("truth", help="the folder of the ground truth")
    add("out", help="the zip to write")
    add("checkpoint", help="the baseline: a model saved by train or kit.save")
    add(
        "--track",
        choices=TRACKS,
        help="sensorium without behaviour, sensorium+ with it (default: as the recording is)",
    )
    for name, text in BUNDLE.items():
        add(f"--{name.replace('_', '-')}", metavar="TEXT", help=text)
    add_command(_doctor, "check this machine and say what it lacks")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # see kit/__init__.py
    sys.exit(main())
