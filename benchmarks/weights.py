"""Train the sample models that come with the kit, and write their files and card: kit/weights.

Takes an hour, a third of it for the report cards. Run by `make weights`; with names, only those are
trained again.
"""

import sys
from datetime import date
from functools import partial

import kit
from kit.models.pretrained import SHIPPED

CNN = partial(kit.cnn_baseline, channels=16)
BUILDERS = {"LN": partial(kit.linear_baseline, channels=16), "CNN": CNN}
TRACKS = {"sample": "Sensorium", "sample+": "Sensorium+"}
PARTS = {  # of the ablation: what a CNN of the mouse "sample+" takes besides the images
    "plain": {},
    "shifter": {"shifter": True},
    "gain": {"gain": True},
    "shifter-gain": {"shifter": True, "gain": True},
    "shifter-gain01": {"shifter": True, "gain": True, "minmax_behavior": True},
    "channels": {"behavior_channels": True},
    "channels-shifter": {"behavior_channels": True, "shifter": True},
}
SEEDS = {parts: (1, 2, 3) for parts in PARTS} | {"shifter-gain": (1, 2, 3, 4, 5)}  # an ensemble
CARD = """# Models of the sample mice

`kit.pretrained("sample+-cnn")` opens one: trained, no recording needed. They predict simulated
mice; the published models of real ones are `kit.pretrained("sensorium+-cnn")` and its like. Each
has a card beside it: recipe, scores with intervals, report card, what it is not for.

| name | kB | validation: single-trial | final test: single-trial | to average | FEVE |
|---|---|---|---|---|---|
{rows}

- Data: `kit.load("sample")` and `kit.load("sample+")`, {neurons} neurons each, simulated by the kit
  (version {version} of the simulator). Their true rates score {ceilings} on the final test set's
  single trials: no model can expect more.
- Models: `kit.linear_baseline` and `kit.cnn_baseline` with 16 channels, and `kit.strong_baseline`.
  Those of "sample+" take behaviour and eye position. Those of "sample-pretrain" predict two open
  mice, with a shifter and a gain for each, and are scored on their test tier; their cores are there
  for other mice to use.
- Recipe: `kit.{recipe}`, and
  `kit.TrainConfig.strong()` for the strong ones; the weights of the epoch that did best on the
  validation tier. The final test set, whose responses the recording withholds, was used for the
  scores alone.
- Use: learning and trying out, with no claim about real brains. MIT licence, as the kit.
- Made on {date} with kit {kit}; `make weights` makes them again and writes this page.

## What eyes and behaviour buy

`kit.pretrained("sample+-shifter-gain-1")`: a CNN of the mouse "sample+" with some parts of
`kit.ModelConfig`, trained by the shorter `kit.TrainConfig.quick()`; 01 stands for behaviour scaled
to 0-1, the last number for the seed of weights and training.

| name | kB | validation: single-trial | final test: single-trial | to average | FEVE |
|---|---|---|---|---|---|
{ablation}
"""


def names():
    """Every model, as name -> (mouse, function that builds it, how to train it)."""
    every = {
        f"{mouse}-{kind.lower()}": (mouse, builder, None, kit.TrainConfig())
        for mouse in TRACKS
        for kind, builder in BUILDERS.items()
    }
    for mouse in (*TRACKS, "sample-pretrain"):
        every[f"{mouse}-strong"] = (mouse, kit.strong_baseline, None, kit.TrainConfig.strong())
    every["sample-pretrain-cnn"] = (
        "sample-pretrain",
        CNN,
        kit.ModelConfig(shifter=True, gain=True),
        kit.TrainConfig(),
    )
    for parts, options in PARTS.items():
        for seed in SEEDS[parts]:
            every[f"sample+-{parts}-{seed}"] = (
                "sample+",
                CNN,
                kit.ModelConfig(seed=seed, **options),
                kit.TrainConfig.quick(seed=seed),
            )
    return every


def place(name):
    """The file of a model."""
    return SHIPPED / ("ablation" if name[-1].isdigit() else "") / f"{name}.safetensors"


def ceiling(name, tier):
    """What the true rates would score: no model can expect more."""
    recording, truth = kit.load(name).mouse, kit.truth(name)
    rows = recording.rows(tier)
    return kit.metrics.correlation(truth.rates[rows], truth.responses[rows]).mean()


def measured(model, mouse):
    """Validation correlation, then the three scores of the final test set, or of open mice's."""
    data = kit.load(mouse)
    validation = kit.score(model, data, "validation").single_trial
    if len(data) > 1:
        final = kit.score(model, data, "test")
    else:
        recording, rows = data.mouse, data.mouse.rows("final_test")
        final = kit.evaluation.compute_scores(
            kit.predict(model, data, "final_test"),
            kit.truth(mouse).responses[rows],
            recording.image_ids[rows],
            recording.unit_ids,
        )
    return validation, final.single_trial, final.to_average, final.feve


def short(value):
    """A score as the course writes it."""
    return f"{value:.3f}"


def make(name, mouse, builder, config, recipe):
    """Train and save one model."""
    data = kit.load(mouse)
    model = builder(data, config=config)
    print(name, kit.train(model, data, recipe), flush=True)
    numbers = map(short, measured(model, mouse)[1:])
    model.description = "\n".join(
        [
            f'baseline of the simulated mouse kit.load("{mouse}"); MIT; see kit/weights/README.md',
            f"scores, single-trial / to average / FEVE: final {' / '.join(numbers)}",
        ]
    )
    kit.save(model, place(name))


def row(name, mouse):
    """A model's row of the card, measured from its file."""
    numbers = map(short, measured(kit.pretrained(name), mouse))
    size = f"{place(name).stat().st_size / 1e3:.0f}"
    return "| " + " | ".join([name, size, *numbers]) + " |"


def write_card():
    """Write the page that goes with the files."""
    rows = {name: row(name, mouse) for name, (mouse, *_) in names().items()}
    text = CARD.format(
        rows="\n".join(text for name, text in rows.items() if place(name).parent == SHIPPED),
        ablation="\n".join(text for name, text in rows.items() if place(name).parent != SHIPPED),
        neurons=len(kit.load("sample").mouse.unit_ids),
        version=kit.data.simulation.VERSION,
        ceilings=" and ".join(short(ceiling(name, "final_test")) for name in TRACKS),
        recipe=kit.TrainConfig(),
        date=date.today(),
        kit=kit.__version__,
    )
    (SHIPPED / "README.md").write_text(text, encoding="utf-8")


def write_model_card(name, mouse, recipe):
    """Write the card of one model beside its file; of two mice the first is compared with cells."""
    model, data = kit.load_model(place(name)), kit.load(mouse)
    truth = kit.truth(next(iter(data)))
    neurons = range(0, 600, 4)  # as in notebook 07
    report = kit.lab.report_card(model, truth, neurons)
    kit.card(model, data, recipe, report, place(name).with_suffix(".md"))


if __name__ == "__main__":
    made = sys.argv[1:] or list(names())
    for name in made:
        make(name, *names()[name])
    write_card()
    for name, (mouse, _, _, recipe) in names().items():
        if name in made and place(name).parent == SHIPPED:
            write_model_card(name, mouse, recipe)
