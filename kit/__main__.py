"""The kit from a shell: python -m kit fetch | train | submit | check | grade | doctor."""

import argparse
import os
import sys
from pathlib import Path

import kit
from kit.files import atomic_write


def main(arguments=None):
    """Run one command. Returns the exit status: 2, with one sentence, on bad input."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, OSError, FloatingPointError) as problem:
        print(f"kit {options.command}: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"kit {options.command}: stopped; a download goes on from there next time",
              file=sys.stderr)
        return 130


def _fetch(options):
    print(kit.load(options.data, size=tuple(options.size)))


def _train(options):
    data = kit.load(options.data)
    baseline = {"cnn": kit.cnn_baseline, "linear": kit.linear_baseline}[options.model]
    recipe = {"default": kit.TrainConfig, "quick": kit.TrainConfig.quick,
              "sensorium2022": kit.TrainConfig.sensorium2022}[options.recipe]
    changes = {name: value for name in ("epochs", "seed", "device")
               if (value := getattr(options, name)) is not None}
    if options.checkpoint and Path(options.checkpoint).resolve() == Path(options.out).resolve():
        raise ValueError(f"{options.out} cannot be both model and checkpoint; name another file")

    def trained():
        model = baseline(data, channels=options.channels)
        return model, kit.train(model, data, recipe(**changes), options.checkpoint)

    if os.environ.get("RANK", "0") != "0":  # torchrun's first process prints and saves for all
        trained()
        return
    with atomic_write(options.out) as part:  # around the training: a bad place is refused before it
        model, log = trained()
        print(log)
        print(kit.score(model, data, "validation"))
        kit.save(model, part)
    print(f"saved to {options.out}")


def _submit(options):
    for path in kit.submit(kit.load_model(options.checkpoint), kit.load(options.data),
                           options.folder):
        print(path)


def _check(options):
    report = kit.check(options.submission, kit.load(options.data))
    print(report)
    return 0 if report else 2


def _grade(options):
    print(kit.grade(options.submission, options.ground_truth))


def _doctor(_):
    return 0 if kit.doctor() else 2


def _parser():
    parser = argparse.ArgumentParser(prog="kit", description=kit.__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)

    def command(run, text):
        added = commands.add_parser(run.__name__.strip("_"), help=text, description=text)
        added.set_defaults(run=run)
        return added

    data = "sample+, sensorium+, … (see kit.load), a recording's id, or a path"
    fetch = command(_fetch, "download or simulate recordings and pack them")
    fetch.add_argument("data", help=data, nargs="+")
    fetch.add_argument("--size", type=int, nargs=2, default=(36, 64), metavar=("H", "W"))
    train = command(_train, "train a baseline and save it")
    train.add_argument("data", help=data, nargs="+")
    train.add_argument("out", help="where the model goes, a .safetensors file")
    train.add_argument("--model", choices=("cnn", "linear"), default="cnn")
    train.add_argument("--channels", type=int, default=64, help="width of the core; 16 is quick")
    train.add_argument("--recipe", choices=("default", "quick", "sensorium2022"), default="default")
    train.add_argument("--epochs", type=int)
    train.add_argument("--seed", type=int)
    train.add_argument("--device", help="cpu, cuda, mps or auto")
    train.add_argument("--checkpoint", metavar="PATH", help="kept here after every epoch; the same "
                       "command goes on from it")
    submit = command(_submit, "write the two official submission files of a saved model")
    submit.add_argument("checkpoint", help="what train or kit.save wrote")
    submit.add_argument("data", help=data)
    submit.add_argument("folder", help="where the two files go")
    check = command(_check, "check a submission file, or the folder of both")
    check.add_argument("submission")
    check.add_argument("data", help=data)
    grade = command(_grade, "grade a submission file against its ground truth")
    grade.add_argument("submission")
    grade.add_argument("ground_truth")
    command(_doctor, "look at this machine and say what it lacks")
    return parser


if __name__ == "__main__":
    sys.exit(main())
