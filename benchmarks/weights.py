"""Train the sample models that come with the kit, and write their files and card: kit/weights.

Takes some minutes. Run by `make weights`.
"""

from datetime import date

from readme import BUILDERS, TRACKS, ceiling, graded

import kit
from kit.checkpoints import SHIPPED

CARD = """# Models of the sample mice

`kit.pretrained("sample+-cnn")` opens one: trained, no recording needed. They predict simulated
mice; the published models of real ones are `kit.pretrained("sensorium+-cnn")` and its like.

| name | kB | validation: single-trial | final test: single-trial | to average | FEVE |
|---|---|---|---|---|---|
{rows}

- Data: `kit.load("sample")` and `kit.load("sample+")`, {neurons} neurons each, simulated by the kit
  (version {version} of the simulator). Their true rates score {ceilings} on the final test set's
  single trials: no model can expect more.
- Models: `kit.linear_baseline` and `kit.cnn_baseline` with 16 channels. Those of "sample+" take
  behaviour and eye position.
- Recipe: `kit.{recipe}`; the weights of the epoch that did best on the
  validation tier. The final test set, whose responses the recording withholds, was used for the
  scores alone.
- Use: learning and trying out, with no claim about real brains. MIT licence, as the kit.
- Made on {date} with kit {kit}; `make weights` makes them again and writes this page.
"""


def made(name, kind):
    """Train and save one model. Returns its row of the card."""
    model, _, final = graded(name, BUILDERS[kind])
    validation = kit.score(model, kit.load(name), "validation").single_trial
    numbers = [f"{value:.3f}"[1:] for value in (final.single_trial, final.to_average, final.feve)]
    model.about = "\n".join(
        [
            f'baseline of the simulated mouse kit.load("{name}"); MIT; see kit/weights/README.md',
            f"scores, single-trial / to average / FEVE: final {' / '.join(numbers)}",
        ]
    )
    path = SHIPPED / f"{name}-{kind.lower()}.safetensors"
    kit.save(model, path)
    row = [path.stem, f"{path.stat().st_size / 1e3:.0f}", f"{validation:.3f}"[1:], *numbers]
    return "| " + " | ".join(row) + " |"


def write_card(rows):
    """Write the page that goes with the files."""
    text = CARD.format(
        rows="\n".join(rows),
        neurons=len(kit.load("sample").mouse.unit_ids),
        version=kit.sample.VERSION,
        ceilings=" and ".join(f"{ceiling(name, 'final_test'):.3f}"[1:] for name in TRACKS),
        recipe=kit.TrainConfig(),
        date=date.today(),
        kit=kit.__version__,
    )
    (SHIPPED / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_card([made(name, kind) for name in TRACKS for kind in BUILDERS])
