"""The page about one scored entry: one HTML file that loads nothing and runs no script."""

import html
from pathlib import Path
from string import Template

import numpy as np

from kit.challenge.tracks import RANKING_METRIC, SCORES, TRACKS

NAMES = SCORES | {
    "feve": "FEVE, the fraction of explainable variance explained (the best model of "
    "the image alone: 1)"
}
WIDTH, HEIGHT = 600, 230  # of the figure, in its own units
LEFT, RIGHT, TOP, BOTTOM = 58, 24, 44, 46

RESULT = Template("""\
<p class="facts">$test_set test set · $trials trials · $images images · $neurons neurons</p>
<p class="score"><b>$score</b> $metric</p>
<p>95 % interval <b>$low to $high</b>: where this score may lie with other images, for the same
neurons. It is corrected for the bias of few images, so it need not lie around the score, and it
says nothing about another training of the model.</p>
<table>
<caption>All scores, means over neurons</caption>
<thead><tr><th scope="col">Score</th><th scope="col">Value</th></tr></thead>
<tbody>
$rows
</tbody>
</table>
<h2>Distribution over neurons</h2>
$figure
<p class="small">Half of the neurons have a $metric of $quartile_1 to $quartile_3; the median is
$median.</p>""")
FIGURE = Template("""\
<svg viewBox="0 0 $width $height" role="img" aria-label="$label">
$grid
<g class="bars">$bars</g>
<line class="axis" x1="$left" x2="$right" y1="$base" y2="$base"/>
$ticks
<line class="halo" x1="$mean" x2="$mean" y1="30" y2="$base"/>
<line class="mean" x1="$mean" x2="$mean" y1="30" y2="$base"/>
<text class="mean" x="$mean" y="24" text-anchor="$anchor">mean $score</text>
<text x="$middle" y="$caption_y" text-anchor="middle">neurons by $metric</text>
</svg>""")


def result(
    track: str, test_set: str, values: np.ndarray, scores: dict[str, float], counts: dict[str, int]
) -> str:
    """The page of a scored entry.

    values: (N,) each neuron's score by which the track is ranked; scores: the columns of the
    leaderboard; counts: how many trials, images and neurons there are.
    """
    ranked = RANKING_METRIC[track]
    metric = NAMES[ranked]
    rows = [
        f'<tr><th scope="row">{_escape(name)}</th><td>{_digits(scores[key])}</td></tr>'
        for key, name in NAMES.items()
    ]
    quartiles = [_digits(value) for value in np.quantile(values, [0.25, 0.5, 0.75])]
    content = RESULT.substitute(
        test_set=_escape(test_set.capitalize()),
        metric=metric,
        rows="\n".join(rows),
        score=_digits(scores[ranked]),
        low=_digits(scores["low"]),
        high=_digits(scores["high"]),
        figure=histogram(values, metric),
        quartile_1=quartiles[0],
        median=quartiles[1],
        quartile_3=quartiles[2],
        **{key: f"{count:,}" for key, count in counts.items()},
    )
    return _page(f"Scores in the {TRACKS[track]} track", content)


def problem(sentence: str) -> str:
    """The page of an entry that cannot be scored."""
    return _page("This entry was not scored", f'<p class="problem">{_escape(sentence)}</p>')


def histogram(values: np.ndarray, metric: str) -> str:
    """The distribution of values (N,), correlations of single neurons, as inline SVG."""
    low = min(0.0, np.floor(values.min() * 10) / 10)
    high = max(low + 0.2, np.ceil(values.max() * 10) / 10)
    counts, edges = np.histogram(values, np.linspace(low, high, round((high - low) / 0.02) + 1))
    base, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    places = LEFT + (right - LEFT) * (edges - low) / (high - low)
    heights = (base - TOP) * counts / counts.max()
    bars = [
        f'<rect x="{x + 0.5:.2f}" y="{base - tall:.2f}" width="{width - 1:.2f}" '
        f'height="{tall:.2f}"/>'
        for x, width, tall in zip(places, np.diff(places), heights, strict=False)
        if tall
    ]
    mean = float(values.mean())
    share = (mean - low) / (high - low)  # of the figure's width, where the label must fit
    anchor = "start" if share < 0.25 else "end" if share > 0.75 else "middle"
    label = (
        f"Histogram of the {metric} of {len(values)} neurons, from "
        f"{_digits(values.min())} to {_digits(values.max())}, mean {_digits(mean)}"
    )
    return FIGURE.substitute(
        width=WIDTH,
        height=HEIGHT,
        label=_escape(label),
        bars="".join(bars),
        left=LEFT,
        right=right,
        base=base,
        metric=metric,
        score=_digits(mean),
        middle=(LEFT + right) / 2,
        caption_y=HEIGHT - 6,
        grid=_count_lines(counts.max(), base, right),
        mean=f"{LEFT + (right - LEFT) * share:.2f}",
        anchor=anchor,
        ticks=_ticks(low, high, base, right),
    )


def _count_lines(most, base, right):
    """Lines at half the highest bar and at its top, with the number of neurons."""
    lines = []
    for count in sorted({most // 2, most} - {0}):
        y = base - (base - TOP) * count / most
        lines.append(
            f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.2f}" y2="{y:.2f}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.2f}" text-anchor="end">{count}</text>'
        )
    return "\n".join(lines)


def _ticks(low, high, base, right):
    span = high - low
    step = 0.1 if span < 0.85 else 0.2 if span < 1.65 else 0.5
    texts = []
    for k in range(round(np.ceil(low / step - 1e-9)), round(np.floor(high / step + 1e-9)) + 1):
        x = LEFT + (right - LEFT) * (k * step - low) / span
        texts.append(
            f'<text x="{x:.2f}" y="{base + 18}" text-anchor="middle">{_digits(k * step, 1)}</text>'
        )
    return "\n".join(texts)


def _page(title, content):
    """The page with what is in its middle, which is escaped already."""
    template = Path(__file__).parent / "bundle_files" / "detailed_results.html"
    return Template(template.read_text("utf-8")).substitute(title=_escape(title), content=content)


def _escape(text):
    return html.escape(str(text))


def _digits(number, count=4):
    return f"{number:.{count}f}".replace("-", "−")
