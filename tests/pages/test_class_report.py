"""A class's answers on one page: read and never run, whatever was handed in."""

import json
import os
import re

import pytest
from html_page import Page, assert_loads_nothing

from kit.__main__ import main
from kit.pages.class_report import LARGEST, class_report

HOSTILE = "<img src=x onerror=alert(1)>"
CHECKS = [
    'print("first =", first)\nassert first is ... or abs(first - 0.3) < 0.03, "hint"',
    'print("second =", second)\nassert second is ... or second == 4, (\n    "hint"\n)',
    'print("third =", third)\nassert third is ... or third == "cnn", "hint"',
]


def notebook(printed, source=""):
    """A notebook of one cell that printed lines."""
    output = {"output_type": "stream", "name": "stdout", "text": printed}
    cell = {"cell_type": "code", "metadata": {}, "source": source, "outputs": [output]}
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture
def solutions(tmp_path):
    folder = tmp_path / "solutions"
    folder.mkdir()
    cells = [{"cell_type": "code", "source": check.splitlines(True)} for check in CHECKS]
    (folder / "00_first.ipynb").write_text(json.dumps({"cells": cells[:1]}))
    (folder / "01_second.ipynb").write_text(json.dumps({"cells": cells[1:]}))
    return folder


@pytest.fixture
def hand_in(tmp_path):
    """A function that writes a file of the class, and gives the folder."""

    def write(name, content):
        path = tmp_path / "class" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / "class"

    return write


@pytest.fixture
def report(hand_in, solutions):
    """A function from the bytes of one learner's answers.py or notebook to that learner."""

    def read(name, content):
        (learner,) = class_report(hand_in(f"anna/{name}", content), solutions).learners
        return learner

    return read


# ---- what is read ----


def test_class_report_reads_notebooks_and_answers(hand_in, solutions):
    hand_in("anna/00.ipynb", notebook(["first = 0.31", "2\n", "other = 1\n"]))
    hand_in("anna/deeper/01.ipynb", notebook("second = 4\nthird = vit\n"))
    hand_in("bob/answers.py", "first = 0.5\nsecond = ...\nthird = 'cnn'\n")
    folder = hand_in("carl.py", "second: int = 4\nfirst = -1e-2  # a guess\n")
    (folder / "list.txt").write_text("no learner")
    found = class_report(folder, solutions)
    assert {learner.name: learner.answers for learner in found.learners} == {
        "anna": {"first": 0.312, "second": 4.0, "third": "vit"},
        "bob": {"first": 0.5, "second": None, "third": "cnn"},
        "carl": {"first": -0.01},
    }
    assert [found.totals(exercise) for exercise in found.exercises] == [
        (1, 2, ("0.5", 1)),
        (1, 0, None),
        (1, 1, ("vit", 1)),
    ]
    assert str(found) == ("learners: 3, exercises: 3, answers right: 3, wrong: 3, remarks: 0")


def test_class_report_knows_the_edge_of_a_tolerance(hand_in, solutions):
    for name, answer in {"a": "0.3299", "b": "0.3301", "c": "nan", "d": "True", "e": "4.0"}.items():
        folder = hand_in(f"{name}.py", f"first = {answer}\nsecond = {answer}")
    found = class_report(folder, solutions)
    first, second, _ = found.exercises
    right = [first.accepts(learner.answers["first"]) for learner in found.learners]
    assert right == [True, False, False, False, False]
    assert [second.accepts(learner.answers["second"]) for learner in found.learners][-2:] == [
        False,
        True,
    ]


NUMBERS = {
    "tensor(0.998)": 0.998,
    "tensor(0.9980, grad_fn=<MulBackward0>)": 0.998,
    "tensor(0.25, dtype=torch.float64)": 0.25,
    "np.float64(0.252)": 0.252,
    "float(-.5)": -0.5,
    "1/4": 0.25,
    "-1 / 4": -0.25,
    "+3e-2": 0.03,
}
NO_NUMBERS = ["0.1 * 3", "round(1.6)", "1 / 0", "nan", "True", "0.3, 0.4", "[0.3]", "open('x')"]


@pytest.mark.parametrize("text", NUMBERS)
def test_class_report_reads_numbers_as_torch_and_numpy_print_them(text, report):
    learner = report("00.ipynb", notebook(f"first = {text}\n"))
    assert learner.answers == {"first": NUMBERS[text]} and learner.notes == []
    if "<" not in text:
        assert report("00.ipynb", notebook("1")).answers == {}
        assert report("answers.py", f"first = {text}").answers == {"first": NUMBERS[text]}


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_class_report_shows_an_expression_and_does_not_compute_it(text, report):
    learner = report("00.ipynb", notebook(f"first = {text}\n"))
    assert learner.answers == {"first": text.strip("'\" ")}
    assert learner.notes == ["first is not a plain number in 00.ipynb; give one, such as 0.5"]


def test_class_report_keeps_a_text_of_digits_where_a_text_is_due(report):
    assert report("answers.py", "third = '12'").answers == {"third": "12"}


def test_class_report_loses_a_bad_line_alone(report):
    learner = report("answers.py", "first = 0.3\nsecond = = 4\n  third = 'cnn'\n")
    assert learner.answers == {"first": 0.3, "third": "cnn"}
    assert learner.notes == [
        "answers.py, line 2 (second = = 4), cannot be read; a line is name = number"
    ]
    (note,) = report("answers.py", "= 1\n" * 5 + "first = 0.3").notes
    assert "line 3 (= 1) and 2 more, cannot" in note


@pytest.mark.parametrize("coding", ["utf-16", "utf-8-sig"])
def test_class_report_reads_what_powershell_writes(coding, report):
    learner = report("answers.py", "first = 0.3  # für Anna\r\n".encode(coding))
    assert learner.answers == {"first": 0.3} and learner.notes == []


def test_class_report_reads_a_file_with_a_letter_of_an_old_coding(report):
    assert report("answers.py", "first = 0.3  # für".encode("latin-1")).answers == {"first": 0.3}


def test_class_report_names_what_is_not_asked_for(report):
    learner = report("answers.py", "import os\nfrist = 0.3\na = b = 1\nsecond = 4\nc = d = e = 1")
    assert learner.answers == {"second": 4.0}
    assert learner.notes == [
        "frist is not asked for; did you mean 'first'?",
        "a is not asked for",
        "b is not asked for",
    ]


def test_class_report_leaves_what_else_a_notebook_prints(report):
    assert report("00.ipynb", notebook("frist = 1\nsecond = 4")).notes == []


def test_class_report_says_which_of_two_answers_counts(hand_in, solutions):
    hand_in("anna/answers.py", "first = 0.3\nsecond = 4\nthird = ...")
    folder = hand_in("anna/z.ipynb", notebook("first = 0.9\nsecond = 4\nthird = cnn"))
    (learner,) = class_report(folder, solutions).learners
    assert learner.answers == {"first": 0.3, "second": 4.0, "third": "cnn"}
    assert learner.notes == ["first differs between z.ipynb and answers.py: answers.py counts"]


def test_class_report_names_a_folder_in_which_nothing_is_found(hand_in, solutions):
    hand_in("ben/kim.zip", "PK")
    hand_in("carl/answers.py.txt", "first = 0.3")
    folder = hand_in("dora.zip", "PK")
    (folder / "eve").mkdir()
    found = class_report(folder, solutions)
    what = "cannot be read: it is no notebook and no answers.py; unpack a zip into a folder"
    assert {learner.name: learner.notes for learner in found.learners} == {
        "ben": ["nothing found", f"kim.zip {what}"],
        "carl": ["nothing found", f"answers.py.txt {what}"],
        "dora": ["nothing found", f"dora.zip {what}"],
        "eve": ["nothing found"],
    }
    lines = str(found).splitlines()
    assert lines[0].endswith("remarks: 7") and lines[-1] == "eve: nothing found"
    assert len(found.exercises) == 3, "nobody handed anything in, so all are shown"


def test_class_report_shows_the_notebooks_that_somebody_handed_in(hand_in, solutions):
    hand_in("anna/answers.py", "second = 4")
    folder = hand_in("bob/00.ipynb", notebook("loss = 1\n"))
    assert [each.name for each in class_report(folder, solutions).exercises] == ["second", "third"]
    hand_in("bob/00.ipynb", notebook("first = Ellipsis\n"))
    assert len(class_report(folder, solutions).exercises) == 3


def test_class_report_keeps_the_answer_of_an_earlier_file(hand_in, solutions):
    hand_in("anna/answers.py", "first = 0.3")
    folder = hand_in("anna/z.ipynb", notebook("first = Ellipsis\nsecond = 4\n"))
    (learner,) = class_report(folder, solutions).learners
    assert learner.answers == {"first": 0.3, "second": 4.0}


# ---- what is hostile or broken ----


def test_class_report_runs_nothing(report, tmp_path):
    lines = f"import pathlib\nfirst = 0.3\npathlib.Path({str(tmp_path)!r}, 'ran').touch()\n1 / 0"
    assert report("answers.py", lines).answers == {"first": 0.3}
    assert not (tmp_path / "ran").exists()


DEEP = 100_000
BROKEN = {
    "not JSON": ("a.ipynb", "hello"),
    "empty": ("a.ipynb", ""),
    "deep": ("a.ipynb", "[" * DEEP + "]" * DEEP),
    "deep objects": ("a.ipynb", '{"cells":' * DEEP + "1" + "}" * DEEP),
    "a list": ("a.ipynb", "[1, 2]"),
    "no cells": ("a.ipynb", '{"cells": {"outputs": 1}}'),
    "odd cells": ("a.ipynb", '{"cells": [1, null, {"outputs": [[], {"text": [1, {}]}]}]}'),
    "not run": ("a.ipynb", notebook("")),
    "long number": ("a.ipynb", b'{"cells": ' + b"9" * 1_000_000 + b"}"),
    "bytes": ("a.ipynb", b"\xff\xfe\x00"),
    "a pointer of LFS": ("a.ipynb", "version https://git-lfs.github.com/spec/v1\n"),
    "no Python": ("answers.py", "first = = 3"),
    "a null": ("answers.py", "first = 3\0"),
    "half a letter": ("answers.py", b"\xff\xfef\x00i"),
    "deep Python": ("answers.py", "first = " + "-" * 40_000 + "1"),
    "brackets": ("answers.py", "first = " + "(" * 20_000 + ")" * 20_000),
    "many digits": ("answers.py", "first = " + "9" * 40_000),
}


@pytest.mark.parametrize("name, content", BROKEN.values(), ids=BROKEN)
def test_class_report_says_what_is_wrong_with_a_file(name, content, report):
    learner = report(name, content)
    found, note = learner.notes
    assert found == "nothing found"
    assert note.startswith(name) and "cannot be read" in note and "\n" not in note
    assert learner.answers == {}


def test_class_report_bounds_what_it_reads(report, monkeypatch):
    monkeypatch.setitem(LARGEST, ".py", 20)
    assert report("answers.py", "first = 0.3").notes == []
    _, note = report("answers.py", "first = 0.3 # " + "x" * 20).notes
    assert note == "answers.py cannot be read: it is larger than 2e-05 MB; clear its pictures"


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_class_report_follows_no_link(hand_in, solutions, tmp_path):
    secret = tmp_path / "secret.py"
    secret.write_text("first = 0.3")
    folder = hand_in("anna/00.ipynb", notebook("second = 4\n"))
    (folder / "anna" / "answers.py").symlink_to(secret)
    (folder / "bob.py").symlink_to(secret)
    anna, bob = class_report(folder, solutions).learners
    assert anna.notes == ["answers.py cannot be read: it is not a file"]
    assert bob.notes == ["nothing found", "bob.py cannot be read: it is not a file"]
    assert anna.answers == {"second": 4.0} and bob.answers == {}


def test_class_report_reads_a_long_output_in_time(report):
    lines = "first = " + "x = " * 100_000 + "\n" + "first" * 100_000 + "\nfirst = 0.3\n"
    assert report("a.ipynb", notebook(lines)).answers == {"first": 0.3}


def test_class_report_refuses_a_folder_without_work(tmp_path, solutions):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no work; make a folder in it for each learner"):
        class_report(tmp_path / "empty", solutions)
    with pytest.raises(OSError):
        class_report(tmp_path / "absent", solutions)


def test_class_report_without_the_notebooks_says_where_they_are(hand_in, tmp_path):
    folder = hand_in("anna/answers.py", "first = 0.3")
    with pytest.raises(
        ValueError, match=r"give the folder notebooks/solutions .* --solutions PATH"
    ):
        class_report(folder, tmp_path / "site-packages" / "notebooks" / "solutions")


# ---- the page ----


@pytest.fixture
def page(hand_in, solutions, tmp_path):
    """The page of three learners; all names and texts of the last are hostile."""
    hand_in("anna/answers.py", "first = 0.3\nsecond = 4\nthird = 'cnn'")
    hand_in("bob/answers.py", "first = 0.4\nsecond = 5")
    name = "<b>&lt;{{ 7 }}"
    folder = hand_in(f"{name}/answers.py", f"first = 0.4\nthird = {HOSTILE!r}")
    hand_in(f"{name}/{HOSTILE.replace('/', '')}.ipynb", HOSTILE)
    path = class_report(folder, solutions).page(tmp_path / "page.html")
    return Page(path.read_text(encoding="utf-8"))


def test_page_shows_learners_and_totals(page):
    first, second, third = ([text for _, text in row] for row in page.rows())
    assert first == ["first", "00", "1", "2", "0", "0.4 (2×)", "0.3 ± 0.03"]
    assert second == ["second", "01", "1", "1", "1", "5 (1×)", "4"]
    assert third[:5] == ["third", "01", "1", "1", "1"] and third[-1] == "cnn"
    body = re.findall("<tbody>(.*?)</tbody>", page.source, flags=re.S)[1]
    rows = [Page(row).find("td") for row in re.findall("<tr.*?</tr>", body, flags=re.S)]
    marks = [[attributes.get("class") for attributes, _ in row] for row in rows]
    assert marks[1:] == [
        [None, "right", "right", "right"],
        [None, "wrong", "wrong", "open"],
    ]
    assert marks[0] == [None, "wrong", "open", "wrong"]
    assert [row[0][1] for row in rows] == ["0", "3", "0"]
    assert rows[1][1][1] == "✓ right: 0.3"


def test_page_escapes_what_was_handed_in(page):
    assert not page.find("img") and not page.find("b") and not page.find("script")
    names = [text for _, text in page.find("bdi")]
    assert "<b>&lt;{{ 7 }}" in names and HOSTILE in names
    notes = [text for _, text in page.find("p", **{"class": "note"})]
    assert any(
        note.startswith("<img src=x onerror=alert(1)>.ipynb cannot be read") for note in notes
    )
    assert "first is not a plain number" not in "".join(notes)
    assert_loads_nothing(page)


def test_page_has_what_a_screen_reader_needs(page):
    assert page.find("html", lang="en") and len(page.find("caption")) == 2
    assert all(a.get("scope") in ("row", "col", "colgroup") for a, _ in page.find("th"))
    assert all(a.get("aria-label") for a, _ in page.find("div", role="region"))


# ---- the command ----


def test_command_writes_the_page_and_says_what_is_in_it(hand_in, solutions, tmp_path, capsys):
    folder = hand_in("anna/answers.py", "first = 0.3")
    target = tmp_path / "report.html"
    given = ["class-report", folder, "--page", target, "--solutions", solutions]
    assert not main([str(each) for each in given])
    said = capsys.readouterr().out
    assert said == (
        f"learners: 1, exercises: 1, answers right: 1, wrong: 0, remarks: 0\npage: {target}\n"
    )
    assert target.is_file()


def test_command_answers_a_missing_folder_with_a_sentence(tmp_path, capsys):
    assert main(["class-report", str(tmp_path / "absent")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("kit class-report: ") and error.count("\n") == 1
