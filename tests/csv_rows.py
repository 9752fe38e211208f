"""Official CSV files as lists that tests can change."""

import csv
import json


def read(path):
    """Header and rows [trial, image, values, neurons] of a file."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return header, [[t, i, json.loads(v), json.loads(n)] for t, i, v, n in rows]


def write(path, header, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([str(cell) for cell in row] for row in rows)
    return path


def change(path, change_rows):
    """Write a file again with its rows changed by a function."""
    header, rows = read(path)
    write(path, header, change_rows(rows))
