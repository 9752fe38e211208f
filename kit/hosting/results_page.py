"""The page about one scored entry: one HTML file that loads nothing and runs no script."""

import html
from pathlib import Path
from string import Template

import numpy as np

from kit.challenge.tracks import RANKING_METRIC, SCORES, TRACKS

# of the figure of 600 by 230, in its own units: the places of the axes and of the highest bar
LEFT, RIGHT, TOP, BASE = 58, 576, 44, 184

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
<tr><th scope="row">single-trial correlation</th><td>$single_trial</td></tr>
<tr><th scope="row">correlation to average</th><td>$to_average</td></tr>
<tr><th scope="row">FEVE, the fraction of explainable variance explained (the best model of \
the image alone: 1)</th><td>$feve</td></tr>
</tbody>
</table>
<h2>Distribution over neurons</h2>
$figure
<p class="small">Half of the neurons have a $metric of $quartile_1 to $quartile_3; the median is
$median.</p>""")
VALID = Template("""\
<p class="facts">Final test set · $trials trials · $images images · $neurons neurons</p>
<p class="score"><b>valid</b> the format is right, and every trial and neuron is there once</p>
<p>The platform does not have the responses of the final test set, so it shows no score. When the
final phase is over, the organisers rank the last entry of each participant.</p>""")
FIGURE = Template("""\
<svg viewBox="0 0 600 230" role="img" aria-label="$label">
$grid
<g class="bars">$bars</g>
<line class="axis" x1="58" x2="576" y1="184" y2="184"/>
$ticks
<line class="halo" x1="$mean" x2="$mean" y1="30" y2="184"/>
<line class="mean" x1="$mean" x2="$mean" y1="30" y2="184"/>
<text class="mean" x="$mean" y="24" text-anchor="$anchor">mean $score</text>
<text x="317.0" y="224" text-anchor="middle">neurons by $metric</text>
</svg>""")


def result(
    track: str, test_set: str, values: np.ndarray, scores: dict[str, float], counts: dict[str, int]
) -> str:
    """The page of a scored entry.

    values: (N,) each neuron's score by which the track is ranked; scores: the columns of the
    leaderboard; counts: how many trials, images and neurons there are.
    """
    metric = RANKING_METRIC[track]
    quartile_1, median, quartile_3 = map(_digits, np.quantile(values, [0.25, 0.5, 0.75]))
    content = RESULT.substitute(
        {key: f"{count:,}" for key, count in counts.items()},
        **{key: _digits(score) for key, score in scores.items()},
        test_set=test_set.capitalize(),
        metric=SCORES[metric],
        score=_digits(scores[metric]),
        figure=histogram(values, SCORES[metric]),
        quartile_1=quartile_1,
        median=median,
        quartile_3=quartile_3,
    )
    return _page(f"Scores in the {TRACKS[track]} track", content)


def valid(counts: dict[str, int]) -> str:
    """The page of an entry to a blind final, which is not scored; counts as in `result`."""
    numbers = {key: f"{count:,}" for key, count in counts.items()}
    return _page("This entry is valid", VALID.substitute(numbers))


def problem(sentence: str) -> str:
    """The page of an entry that cannot be scored. The sentence is untrusted, and is escaped."""
    return _page("This entry was not scored", f'<p class="problem">{html.escape(sentence)}</p>')


def histogram(values: np.ndarray, metric: str) -> str:
    """The distribution of values (N,), correlations of single neurons, as inline SVG."""
    low = min(0.0, np.floor(values.min() * 10) / 10)
    high = max(low + 0.2, np.ceil(values.max() * 10) / 10)
    counts, edges = np.histogram(values, np.linspace(low, high, round((high - low) / 0.02) + 1))

    def position(value):
        return LEFT + (RIGHT - LEFT) * (value - low) / (high - low)

    mean = values.mean()
    share = (mean - low) / (high - low)  # of the figure's width, where the label must fit
    return FIGURE.substitute(
        label=f"Histogram of the {metric} of {len(values)} neurons, from {_digits(values.min())} "
        f"to {_digits(values.max())}, mean {_digits(mean)}",
        grid=_count_lines(counts.max()),
        bars=_bars(position(edges), (BASE - TOP) * counts / counts.max()),
        ticks=_ticks(low, high, position),
        mean=f"{position(mean):.2f}",
        anchor="start" if share < 0.25 else "end" if share > 0.75 else "middle",
        score=_digits(mean),
        metric=metric,
    )


def _count_lines(most):
    """Lines at half the highest bar and at its top, with the number of neurons."""
    lines = []
    for count in sorted({most // 2, most} - {0}):
        y = BASE - (BASE - TOP) * count / most
        lines.append(
            f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.2f}" y2="{y:.2f}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.2f}" text-anchor="end">{count}</text>'
        )
    return "\n".join(lines)


def _bars(edges, heights):
    """Bars from each edge to the next, but where there are no neurons."""
    return "".join(
        f'<rect x="{x + 0.5:.2f}" y="{BASE - height:.2f}" width="{width - 1:.2f}" '
        f'height="{height:.2f}"/>'
        for x, width, height in zip(edges, np.diff(edges), heights, strict=False)
        if height
    )


def _ticks(low, high, position):
    """Labels of the axis; position: the place of a value."""
    span = high - low
    step = 0.1 if span < 0.85 else 0.2 if span < 1.65 else 0.5
    values = step * np.arange(-20, 21)
    values = values[(values > low - 1e-9) & (values < high + 1e-9)]
    return "\n".join(
        f'<text x="{x:.2f}" y="{BASE + 18}" text-anchor="middle">{_digits(value, 1)}</text>'
        for x, value in zip(position(values), values, strict=True)
    )


def _page(title, content):
    """The page with what is in its middle, which is escaped already."""
    template = Path(__file__).parent / "bundle_files" / "detailed_results.html"
    return Template(template.read_text("utf-8")).substitute(title=title, content=content)


def _digits(number, count=4):
    return f"{number:.{count}f}".replace("-", "−")
