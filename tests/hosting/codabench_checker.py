"""Will Codabench take a bundle? A second opinion, written from what the platform demands alone.

It shares no code with the kit. `problems(path)` names every piece of the bundle that is wrong; what
the platform accepts in silence and then shows wrongly counts as wrong too.
"""

import ast
import datetime
import io
import json
import re
import sys
import zipfile

import yaml
from PIL import Image

IMAGE = "codalab/codalab-legacy:py312"
COMMAND = "python3 /app/program/score.py /app/input /app/output"
RULES = ["Add", "Add_And_Delete", "Add_And_Delete_Multiple", "Force_Last", "Force_Latest_Multiple",
         "Force_Best"]  # fmt: skip
TRUTHS = ["ground_truth_file_test.csv", "ground_truth_file_final_test.csv"]
LARGE = 50_000_000  # bytes of a solution


def problems(path):
    """Everything that is wrong with a bundle: one line each, beginning with the piece."""
    try:
        with zipfile.ZipFile(path) as source:
            files = {name: source.read(name) for name in source.namelist() if name[-1] != "/"}
    except zipfile.BadZipFile:
        return ["bundle: not a zip"]
    if "competition.yaml" not in files:
        return ["competition.yaml: not at the root of the zip"]
    try:
        competition = yaml.safe_load(files["competition.yaml"])
    except (yaml.YAMLError, UnicodeDecodeError):
        return ["competition.yaml: not YAML"]
    if not isinstance(competition, dict):
        return ["competition.yaml: not a mapping"]
    return Checker(competition, files).check()


def is_text(value, longest):
    return isinstance(value, str) and bool(value.strip()) and len(value) <= longest


def is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


class Checker:
    def __init__(self, competition, files):
        self.competition, self.files, self.found = competition, files, []

    def need(self, fact, piece, words):
        if not fact:
            self.found.append(f"{piece}: {words}")
        return bool(fact)

    def items(self, key):
        """The entries of a list of mappings; a problem if it is missing, empty or no such list."""
        items = self.competition.get(key)
        good = isinstance(items, list) and items and all(isinstance(item, dict) for item in items)
        self.need(good, key, "not a list with entries")
        return items if good else []

    def file(self, name, piece):
        """A file's content; a problem if there is none or it is empty."""
        if not self.need(isinstance(name, str) and name in self.files, piece, "no such file"):
            return b""
        self.need(self.files[name].strip(), piece, "empty")
        return self.files[name]

    def archive(self, name, piece):
        """Name -> content of a zip in the bundle, or of a folder, which the platform zips."""
        if not isinstance(name, str):
            self.need(False, piece, "no such file")
            return {}
        folder = name.rstrip("/") + "/"
        inside = {key[len(folder) :]: value for key, value in self.files.items()
                  if key.startswith(folder)}  # fmt: skip
        if inside:
            return inside
        content = self.file(name, piece)
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as source:
                return {name: source.read(name) for name in source.namelist() if name[-1] != "/"}
        except zipfile.BadZipFile:
            self.need(not content, piece, "neither a zip nor a folder")
            return {}

    def unique(self, items, key, piece):
        values = [item.get(key) for item in items]
        self.need(len({json.dumps(value) for value in values}) == len(values), piece,
                  f"{key} not unique")  # fmt: skip
        return values

    def check(self):
        c = self.competition
        self.need(c.get("version") == 2, "version", "must be 2; missing means 1")
        self.need(is_text(c.get("title"), 255), "title", "1 to 255 characters")
        self.need(c.get("docker_image") == IMAGE, "docker_image", f"must be {IMAGE}")
        self.need(c.get("enable_detailed_results") is True, "enable_detailed_results",
                  "must be true, or the page is ignored")  # fmt: skip
        self.need(isinstance(c.get("registration_auto_approve", False), bool),
                  "registration_auto_approve", "must be true or false")  # fmt: skip
        self.check_texts()
        self.check_tasks()
        self.check_solutions()
        self.check_phases()
        self.check_leaderboard()
        return self.found

    def check_texts(self):
        self.file(self.competition.get("terms"), "terms")
        for place, page in enumerate(self.items("pages")):
            self.need(is_text(page.get("title"), 255), f"pages[{place}].title", "1 to 255 letters")
            self.file(page.get("file"), f"pages[{place}].file")
        content = self.file(self.competition.get("image"), "image")
        try:
            with Image.open(io.BytesIO(content)) as image:
                image.load()
        except (OSError, SyntaxError):
            self.need(not content, "image", "not a picture that PIL opens")

    def check_tasks(self):
        tasks = self.items("tasks")
        for index in self.unique(tasks, "index", "tasks"):
            self.need(is_count(index), "tasks", "index missing")
        truths = []
        for place, task in enumerate(tasks):
            piece = f"tasks[{place}]"
            self.need(is_text(task.get("name"), 256), f"{piece}.name", "1 to 256 characters")
            program = self.archive(task.get("scoring_program"), f"{piece}.scoring_program")
            self.check_program(program, f"{piece}.scoring_program")
            reference = self.archive(task.get("reference_data"), f"{piece}.reference_data")
            truths.append(sorted(reference))
            rest = [name for name in reference if name not in TRUTHS]
            self.need(len(reference) == 2 and rest == ["track.txt"], f"{piece}.reference_data",
                      "must hold one ground-truth file and its track")  # fmt: skip
        self.need(len({tuple(names) for names in truths}) == len(tasks), "tasks",
                  "two score the same ground truth")  # fmt: skip

    def check_program(self, program, piece):
        if not program:
            return
        if self.need("metadata.yaml" in program, piece, "no metadata.yaml at its root"):
            try:
                metadata = yaml.safe_load(program["metadata.yaml"])
            except yaml.YAMLError:
                metadata = None
            command = metadata.get("command") if isinstance(metadata, dict) else None
            self.need(isinstance(command, str) and not re.search(r"[;&|<>$`*?~\"'\\]", command),
                      piece, "the command needs a shell, and gets none")  # fmt: skip
            self.need(command == COMMAND, piece, f"the command is not {COMMAND}")
        self.need("score.py" in program, piece, "no score.py")
        sources = [name for name in program if name.endswith(".py")]
        known = {name[:-3].replace("/", ".") for name in sources}
        for name in sources:
            for module in imports(program[name]):
                outside = module.partition(".")[0] in {"numpy", *sys.stdlib_module_names}
                self.need(outside or module in known, piece,
                          f"{name} imports {module}, which is not there")  # fmt: skip
            for file in re.findall(r'"([\w.]+\.(?:html|json))"', program[name].decode()):
                written = f'output / "{file}"' in program[name].decode()
                self.need(written or any(each.endswith(f"/{file}") for each in program), piece,
                          f"{name} reads {file}, which is not there")  # fmt: skip

    def check_solutions(self):
        if "solutions" not in self.competition:
            return
        solutions = self.items("solutions")
        known = [task.get("index") for task in self.competition.get("tasks") or []]
        self.unique(solutions, "index", "solutions")
        for place, solution in enumerate(solutions):
            piece = f"solutions[{place}]"
            self.need(is_count(solution.get("index")), piece, "index missing")
            tasks = solution.get("tasks") or []
            self.need(tasks and set(tasks) <= set(known), f"{piece}.tasks", "no such task")
            content = self.files.get(solution.get("path"), b"")
            if not self.need(len(content) <= LARGE, piece, "larger than 50 MB, which hangs"):
                continue
            entry = self.archive(solution.get("path"), f"{piece}.path")
            self.need(not {"metadata", "metadata.yaml"} & set(entry), piece,
                      "metadata at its root: taken for a program")  # fmt: skip

    def check_phases(self):
        phases = self.items("phases")
        known = [task.get("index") for task in self.competition.get("tasks") or []]
        self.unique(phases, "index", "phases")
        phases = sorted(phases, key=lambda phase: phase.get("index") or 0)
        ends = []
        for place, phase in enumerate(phases):
            piece = f"phases[{place}]"
            self.need(is_count(phase.get("index")), f"{piece}.index", "missing")
            self.need(is_text(phase.get("name"), 256), f"{piece}.name", "1 to 256 characters")
            tasks = phase.get("tasks") or []
            self.need(tasks and set(tasks) <= set(known), f"{piece}.tasks", "no such task")
            start = self.date(phase.get("start"), f"{piece}.start")
            end = None
            if "end" in phase:
                end = self.date(phase["end"], f"{piece}.end")
                self.need(not (start and end) or start < end, f"{piece}.end", "before the start")
            else:
                self.need(place == len(phases) - 1, f"{piece}.end", "missing; only the last may")
            if ends and ends[-1] and start:
                self.need(start > ends[-1], f"{piece}.start", "not later than the previous end")
            ends.append(end)
            self.check_limits(phase, piece)

    def date(self, value, piece):
        if not self.need(isinstance(value, str), piece, "not a quoted date, so read as midnight"):
            return None
        try:
            found = datetime.datetime.fromisoformat(value)
        except ValueError:
            self.need(False, piece, "not a date")
            return None
        if not self.need(found.tzinfo is None, piece, "an offset, which is dropped"):
            return None
        return found

    def check_limits(self, phase, piece):
        day, most = phase.get("max_submissions_per_day", 5), phase.get("max_submissions", 100)
        good = is_count(day) and is_count(most) and 1 <= day <= most
        self.need(good, f"{piece}.max_submissions", "not 1 or more a day, and no fewer in all")
        limit = phase.get("execution_time_limit", 600)
        self.need(is_count(limit) and 0 < limit <= 600, f"{piece}.execution_time_limit",
                  "not 1 to 600 seconds")  # fmt: skip
        self.need(isinstance(phase.get("hide_score_output", False), bool),
                  f"{piece}.hide_score_output", "must be true or false")  # fmt: skip
        kit = self.archive(phase.get("starting_kit"), f"{piece}.starting_kit")
        text = kit.get("README.md", b"").decode()
        self.need(re.search(r"\b0\.\d{4}\b", text), f"{piece}.starting_kit",
                  "no README.md with the expected scores")  # fmt: skip
        self.need("robot" in text, f"{piece}.starting_kit", "not a word on robot submissions")

    def check_leaderboard(self):
        boards = self.items("leaderboards")
        if not boards:
            return
        self.need(len(boards) == 1, "leaderboards", "only the first is used")
        board, columns = boards[0], boards[0].get("columns") or []
        self.need(is_text(board.get("title"), 64), "leaderboards[0].title", "1 to 64 characters")
        self.need(is_text(board.get("key"), 36), "leaderboards[0].key", "1 to 36 characters")
        self.need(board.get("submission_rule") in RULES, "leaderboards[0].submission_rule",
                  "not one of the platform's, so it hangs")  # fmt: skip
        self.need(columns, "leaderboards[0].columns", "none")
        indices = self.unique(columns, "index", "leaderboards[0].columns")
        self.unique(columns, "key", "leaderboards[0].columns")
        self.need(board.get("primary_index") in indices, "leaderboards[0].primary_index",
                  "not the index of a column, so the page crashes")  # fmt: skip
        for place, column in enumerate(columns):
            piece = f"columns[{place}]"
            self.need(is_count(column.get("index")), f"{piece}.index", "missing")
            self.need(is_text(column.get("title"), 36), f"{piece}.title", "1 to 36 characters")
            self.need(is_text(column.get("key"), 36), f"{piece}.key", "1 to 36 characters")
            self.need(column.get("sorting") == "desc", f"{piece}.sorting", "must be desc")
            self.need(column.get("precision") == 4, f"{piece}.precision", "must be 4")


def imports(source):
    """The modules that a file imports, wherever it does, but where it has something instead."""
    tree = ast.parse(source)
    tried = {node for block in ast.walk(tree) if isinstance(block, ast.Try)
             and any(ast.unparse(handler.type) == "ImportError" for handler in block.handlers)
             for line in block.body for node in ast.walk(line)}  # fmt: skip
    for node in set(ast.walk(tree)) - tried:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        if isinstance(node, ast.ImportFrom):
            package = "." if node.level else node.module
            inner = package.partition(".")[0] == "kit" and package.count(".") < 2
            yield from ([f"{package}.{name.name}" for name in node.names] if inner
                        and package != "kit.checks" else [package])  # fmt: skip
