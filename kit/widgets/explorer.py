"""The shell of every widget: controls, a picture and a sentence.

Callbacks come from any thread: some kernels run them while a cell runs, in a thread of their own,
others while a cell awaits. So pictures are drawn outside pyplot, and DRAWING lets one be drawn at a
time.
"""

import threading
from base64 import b64encode
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import ipywidgets as widgets
from IPython import get_ipython
from IPython.display import display

from kit.widgets.figures import in_256_colors

_SHOWN: list = []  # (cell, its run, explorer), as ipywidgets keeps every widget too
DRAWING = threading.Lock()  # matplotlib is not safe in threads: one picture at a time


class Explorer(widgets.VBox):
    """Controls, a picture and a sentence.

    figure: a `kit.widgets.figures.LiveFigure`. controls: name -> widget with a `value`.
    show: called with the values, by name; it changes the figure and returns the sentence, which is
    then in `text`.
    """

    figure: Any
    keeps_picture = True  # in a notebook that has no kernel

    def __init__(
        self, figure: Any, controls: Mapping[str, Any], show: Callable[[dict], str]
    ) -> None:
        self.figure = figure
        self.controls = dict(controls)
        self._show = show
        self._latest = None
        self.text = ""
        width, height = figure.canvas.get_width_height()
        fixed = widgets.Layout(
            width=f"{width}px",
            height=f"{height}px",
            max_width="100%",
            object_fit="contain",
            flex="0 0 auto",
        )
        self.picture = widgets.Image(format="png", layout=fixed)
        self.sentence = widgets.HTML()
        columns = widgets.HBox(
            list(self.controls.values()), layout=widgets.Layout(flex_flow="row wrap")
        )
        super().__init__([columns, self.picture, self.sentence])
        for control in self.controls.values():
            control.observe(self.refresh, "value")
        self.refresh()
        _replace_older(self)

    def refresh(self, change: object = None) -> None:
        """Draw what the controls say now. Requests that wait leave the drawing to the latest."""
        request = self._latest = object()
        with DRAWING:
            if request is not self._latest or self._show is None:
                return
            values = {name: control.value for name, control in self.controls.items()}
            try:
                sentence = self._show(values)
                self.picture.value = self.figure.png()
            except Exception as problem:  # a notebook shows no error of a callback
                sentence = f"This cannot be shown: {problem}"
            self.text = sentence
            self.sentence.value = f'<div style="line-height: 1.4">{escape(sentence)}</div>'

    def close(self) -> None:
        """Remove the widget, and let go of its picture and of the model that it shows."""
        for part in (*getattr(self, "controls", {}).values(), *self.children):
            part.close()
        self._show = None
        self.figure = None
        super().close()

    def _ipython_display_(self) -> None:
        """Show the widget; where there is no kernel, its present picture and sentence."""
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        bundle = {"application/vnd.jupyter.widget-view+json": view, "text/plain": self.text}
        if self.keeps_picture and self.picture.value:  # none if nothing could be drawn yet
            bundle["image/png"] = b64encode(in_256_colors(self.picture.value)).decode()
        display(bundle, raw=True)


def _running_cell():
    """The ids of the notebook's cell that runs and of its run. None where it is not known."""
    message = getattr(get_ipython(), "get_parent", dict)()
    return message.get("metadata", {}).get("cellId"), message.get("header", {}).get("msg_id")


def _replace_older(explorer):
    """Close the explorers that an earlier run of this cell made."""
    cell, run = _running_cell()
    for entry in list(_SHOWN):
        if entry[0] == cell and entry[1] != run:
            entry[2].close()
            _SHOWN.remove(entry)
    if cell:
        _SHOWN.append((cell, run, explorer))


def slider(
    label: str, unit: str, low: float, high: float, step: float, start: float
) -> widgets.IntSlider | widgets.FloatSlider:
    """A slider of whole numbers where all of its values are, with room for its label and unit."""
    whole = all(float(value).is_integer() for value in (low, high, step, start))
    kind = widgets.IntSlider if whole else widgets.FloatSlider
    return kind(
        value=start,
        min=low,
        max=high,
        step=step,
        description=f"{label} ({unit})",
        style={"description_width": "220px"},
        layout=widgets.Layout(width="465px"),
        readout_format="d" if whole else ".2f",
    )
