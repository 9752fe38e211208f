"""A second reader of the official files, written from the format alone, one character at a time.

It shares no code with the kit and uses neither `csv` nor `json`. It knows two answers: the rows,
or `Refused`.
"""

import re

BLANK = " \t\r\n"
NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
INTEGER = r"-?(?:0|[1-9][0-9]*)"


class Refused(Exception):
    pass


def need(fact):
    if not fact:
        raise Refused


def read(content, column):
    """The rows (trial, image, values, neurons) of a file's bytes, neurons ascending."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise Refused from None
    text = text[1:] if text[:1] == "\N{BYTE ORDER MARK}" else text
    header, *lines = [cells for cells in split(text) if cells != [""]] or [[]]
    names = ["trial_indices", "image_ids", column, "neuron_ids"]
    need(sorted(header) == sorted(names))
    rows = []
    for cells in lines:
        need(len(cells) == 4)
        trial, image, values, neurons = (cells[header.index(name)] for name in names)
        need(is_id(trial) and is_id(image))
        values = [float(part) for part in numbers(values, NUMBER)]
        neurons = [float(part) for part in numbers(neurons, INTEGER)]
        need(len(values) == len(neurons) and all(-1e30 <= value <= 1e30 for value in values))
        need(all(abs(neuron) < 2**53 for neuron in neurons))
        pairs = sorted(zip(map(int, neurons), values, strict=True), key=lambda pair: pair[0])
        values, neurons = [value for _, value in pairs], [neuron for neuron, _ in pairs]
        rows.append((trial, image, values, neurons))
    return rows


def split(text):
    """The cells of every line, without the white space around them."""
    lines, cells, cell, state = [], [], "", "start"
    for letter in text.replace("\r\n", "\n"):
        if state == "quoted":
            state, cell = ("closed", cell) if letter == '"' else ("quoted", cell + letter)
        elif letter in ",\n":
            cells.append(cell.strip(BLANK))
            cell, state = "", "start"
            if letter == "\n":
                lines.append(cells)
                cells = []
        elif state == "start" and letter == '"':
            state = "quoted"
        else:
            need(state != "closed" and letter != "\r")
            state, cell = "open", cell + letter
    need(state != "quoted")
    return [*lines, [*cells, cell.strip(BLANK)]]


def is_id(text):
    """Visible ASCII without comma and quote, and not a whole number written as a float."""
    whole, point, zeros = text.removeprefix("-").removeprefix("+").partition(".")
    is_float = point and whole.isdecimal() and not zeros.strip("0")
    return bool(text) and all("!" <= x <= "~" and x not in ',"' for x in text) and not is_float


def numbers(text, pattern):
    need(text[:1] == "[" and text[-1:] == "]" and len(text) > 1)
    if not text[1:-1].strip(BLANK):
        return []
    parts = [part.strip(BLANK) for part in text[1:-1].split(",")]
    need(all(re.fullmatch(pattern, part) for part in parts))
    return parts


def match(rows, truth):
    """Predictions (T, N) of rows that fit the truth's, trial by trial, neurons ascending."""
    need(truth and truth[0][3])
    neurons = truth[0][3]
    need(len(set(neurons)) == len(neurons))
    images = {trial: image for trial, image, _, _ in truth}
    need(len(images) == len(truth))
    need(sorted(row[0] for row in rows) == sorted(images))
    for trial, image, _, ids in rows:
        need(images[trial] == image and ids == neurons)
    values = {trial: values for trial, _, values, _ in rows}
    return [values[row[0]] for row in truth]
