"""Measure steps of the climb, and write the table of all.

    python benchmarks/climb/climb.py gain    # three seeds on three recordings, then the table
    python benchmarks/climb/climb.py         # the table alone, in README

A step is a folder with a `step.py`: one docstring line, the name of the step AFTER which it comes,
and `train(data, seed)`, which returns a trained model and its history. `record.json` beside it has
for each recording and seed the score on the validation tier, which may choose, and on the final
test, which is looked at once; how much each test image pulls the latter; the training's log, CPU
seconds and parameters. Differences and intervals follow from the records.
"""

import json
import runpy
import sys
from pathlib import Path
from time import process_time

import numpy as np
import recordings

import kit
from kit.evaluation.bootstrap import ImageScore, compare_scores, single_trial_score
from kit.files import atomic_write

HERE = Path(__file__).resolve().parent
README = HERE.parents[1] / "README.md"
SEEDS = ("1", "2", "3")
FIRST = "baseline"
MODELS = HERE.parents[1] / "build" / "climb"  # the trained models, for ensembles and a closer look


def measure(name, recording, seed):
    """Train a step's model on a recording and score it. Returns a dict for its record."""
    data, responses = recordings.load(recording)
    started = process_time()
    model, log = read_step(name)["train"](data, int(seed))
    seconds = process_time() - started
    kit.save(model, MODELS / f"{name}-{recording}-{seed}.safetensors")
    rows = data.mouse.rows("final_test")
    predictions = kit.predict(model, data, "final_test")
    final = single_trial_score(predictions, responses[rows], data.mouse.image_ids[rows])
    return {
        "validation": round(kit.score(model, data, "validation").single_trial, 4),
        "final": round(final.score, 4),
        "cpu_seconds": round(seconds),
        "parameters": sum(value.numel() for value in model.parameters()),
        "log": str(log),
        "pulls": [round(pull, 5) for pull in final.pulls.tolist()],
    }


def read_step(name):
    """What `step.py` defines, by name."""
    return runpy.run_path(str(HERE / name / "step.py"))


def record(name):
    """What was measured of a step: recording -> seed -> result."""
    path = HERE / name / "record.json"
    return json.loads(path.read_text()) if path.exists() else {}


def complete(name):
    """The record of a step without recordings on which seeds are missing."""
    return {key: results for key, results in record(name).items() if len(results) == len(SEEDS)}


def run(name, chosen):
    """Measure a step on recordings where its record has a gap."""
    for recording in chosen:
        for seed in SEEDS:
            if seed in record(name).get(recording, {}):
                continue
            result = measure(name, recording, seed)
            print(name, recording, seed, result["validation"], result["log"], flush=True)
            results = record(name)
            results.setdefault(recording, {})[seed] = result
            with atomic_write(HERE / name / "record.json") as part:
                part.write_text(json.dumps(results, indent=1) + "\n")


def mean_score(results):
    """The mean of the seeds' final scores, with the pull of each image on it."""
    pulls = np.mean([result["pulls"] for result in results.values()], 0)
    return ImageScore(float(np.mean([result["final"] for result in results.values()])), pulls)


def gain(new, old):
    """What a step adds on a recording: a paired `Difference`, and its s.d. over the seeds.

    new, old: seed -> result, of the step and of the one before it.
    """
    each = [new[seed]["final"] - old[seed]["final"] for seed in SEEDS]
    return compare_scores(mean_score(new), mean_score(old)), float(np.std(each, ddof=1))


def steps():
    """The names of all steps that were measured, each behind the one it comes after."""
    after = {path.parent.name: read_step(path.parent.name).get("AFTER")
             for path in sorted(HERE.glob("*/record.json"))}  # fmt: skip

    def depth(name):
        return 0 if name == FIRST else 1 + depth(after[name])

    return sorted(after, key=depth)


def table():
    """All steps in Markdown: what each adds, on which recording, at what cost."""
    names = [name for name in recordings.NAMES if name in record(FIRST)]
    lines = [
        f"| step | {' | '.join(f'`{name}`' for name in names)} | CPU s | pays |",
        "|---|" + "---|" * (len(names) + 2),
    ]
    for name in steps():
        step, results, paid, cells = read_step(name), complete(name), set(), []
        before = {} if name == FIRST else complete(step["AFTER"])
        for recording in names:
            if recording not in results:
                cells.append("not measured")
                continue
            cell = number(mean_score(results[recording]).score)
            if recording in before:
                difference, spread = gain(results[recording], before[recording])
                low, high = difference.interval
                cell += f"<br>{number(low, '+')} to {number(high, '+')}, seeds ± {number(spread)}"
                if low > 0:
                    paid.add(recordings.TRUTHS[recording])
            cells.append(cell)
        cost = [r["cpu_seconds"] for seeds in results.values() for r in seeds.values()]
        pays = "–" if name == FIRST else "yes" if len(paid) > 1 else "no"
        cells = [f"**{name}**: {step['__doc__']}", *cells, f"{np.median(cost):.0f}", pays]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def number(score, sign=""):
    """A score or a difference below 1 as the literature writes it: .384, +.021."""
    return f"{score:{sign}.3f}".replace("0.", ".", 1)


def write_table():
    before, _, rest = README.read_text().partition("<!-- climb -->\n")
    _, _, after = rest.partition("<!-- /climb -->")
    README.write_text(f"{before}<!-- climb -->\n{table()}\n<!-- /climb -->{after}")


if __name__ == "__main__":
    if sys.argv[1:]:
        run(sys.argv[1], sys.argv[2:] or recordings.NAMES)
    write_table()
