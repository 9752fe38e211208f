"""Measure steps of the climb, and write the table of all.

    python benchmarks/climb/climb.py gain    # three seeds on three recordings, then the table
    python benchmarks/climb/climb.py         # the table alone, in docs/ladder.md and notebook 10

A step is a folder with a `step.py`: one docstring line, the name of the step AFTER which it comes,
and `train(data, seed)`, which returns a trained model and its history; perhaps the name of another
step, TEACHER, whose models, which lie in build/climb, it learns from. `record.json` beside it has
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
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "ladder.md"
NOTEBOOK = ROOT / "notebooks" / "10_climb.ipynb"
FIGURE = ROOT / "kit" / "weights" / "ladder.json"
MARKS = ("<!-- climb -->", "<!-- /climb -->")
SEEDS = ("1", "2", "3")
FIRST = "baseline"
MODELS = ROOT / "build" / "climb"  # the trained models, for ensembles and a closer look


def measure(name, recording, seed):
    """Train a step's model on a recording and score it. Returns a dict for its record."""
    data, responses = recordings.load(recording)
    started = process_time()
    model, log = read_step(name)["train"](data, int(seed))
    seconds = process_time() - started
    for k, member in enumerate(getattr(model, "models", [model])):
        kit.save(member, MODELS / f"{name}-{data.mouse.mouse}-{seed}-{k}.safetensors")
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
    names = [path.parent.name for path in sorted(HERE.glob("*/record.json"))]
    after = {name: read_step(name).get("AFTER") for name in names if complete(name)}

    def depth(name):
        return 0 if name == FIRST else 1 + depth(after[name])

    return sorted(after, key=depth)


def number(score, sign=""):
    """A score or a difference with three decimals: 0.384, +0.021."""
    return f"{score:{sign}.3f}"


def gains(name):
    """Recording -> what a step adds there: a `Difference` and its s.d. over the seeds."""
    if name == FIRST:
        return {}
    new, old = complete(name), complete(read_step(name)["AFTER"])
    return {
        recording: gain(new[recording], old[recording]) for recording in new if recording in old
    }


def pays(name):
    """Whether a step's interval is above 0 on recordings of different truth: yes, no or open."""
    measured = gains(name)
    above = {recordings.TRUTHS[key] for key, (difference, _) in measured.items()
             if difference.interval[0] > 0}  # fmt: skip
    both = len({recordings.TRUTHS[key] for key in measured}) > 1
    return "yes" if len(above) > 1 else "no" if both else "open"


def cost(name):
    """CPU seconds of a training, the median, with those of its teachers, if it has some."""
    seeds = [each for results in complete(name).values() for each in results.values()]
    teacher = read_step(name).get("TEACHER")
    own = float(np.median([each["cpu_seconds"] for each in seeds]))
    return own + (len(SEEDS) * cost(teacher) if teacher else 0)


def table():
    """All steps in Markdown: what each adds, on which recording, at what cost."""
    names = [name for name in recordings.NAMES if name in record(FIRST)]
    lines = [
        f"| step | {' | '.join(f'`{name}`' for name in names)} | CPU s | pays |",
        "|---|" + "---|" * (len(names) + 2),
    ]
    for name in steps():
        step, results, added, cells = read_step(name), complete(name), gains(name), []
        for recording in names:
            if recording not in results:
                cells.append("not measured")
                continue
            cell = number(mean_score(results[recording]).score)
            if recording in added:
                difference, spread = added[recording]
                low, high = difference.interval
                cell += f"<br>{number(low, '+')} to {number(high, '+')}, seeds ± {number(spread)}"
            cells.append(cell)
        after = "" if name == FIRST else f" (after {step['AFTER']})"
        verdict = "–" if name == FIRST else pays(name)
        row = [f"**{name}**{after}: {step['__doc__']}", *cells, f"{cost(name):.0f}", verdict]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def ladder(recording="sample+"):
    """What notebook 10 draws of one recording: step -> CPU seconds, score, and its interval.

    The interval is that of what the step adds to the one before it, drawn around its score.
    """
    kinds = {"steps": {}, "tried": {}}
    for name in steps():
        results, added = complete(name), gains(name)
        if recording not in results:
            continue
        score = mean_score(results[recording]).score
        reach = 0.0
        if recording in added:
            difference = added[recording][0]
            reach = difference.interval[1] - difference.difference
        kind = "tried" if name != FIRST and pays(name) == "no" else "steps"
        row = [cost(name), score, score - reach, score + reach]
        kinds[kind][name] = [round(value, 4) for value in row]
    return kinds


def true_rates(recording="sample+"):
    """What the true rates score on the final test: no model can expect more."""
    truth, mouse = kit.truth(recording), kit.load(recording).mouse
    rows = mouse.rows("final_test")
    images = mouse.image_ids[rows]
    return round(single_trial_score(truth.rates[rows], truth.responses[rows], images).score, 4)


def put_table(text):
    """The text with the table between its marks."""
    before, _, rest = text.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    return f"{before}{MARKS[0]}\n{table()}\n{MARKS[1]}{after}"


def write():
    """Write the table into the site's page and the notebook, and the numbers of the figure."""
    PAGE.write_text(put_table(PAGE.read_text()))
    notebook = json.loads(NOTEBOOK.read_text())
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if MARKS[0] in source:
            cell["source"] = put_table(source).splitlines(keepends=True)
    NOTEBOOK.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    FIGURE.write_text(json.dumps(ladder() | {"true rates": true_rates()}, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:]:
        run(sys.argv[1], sys.argv[2:] or recordings.NAMES)
    write()
