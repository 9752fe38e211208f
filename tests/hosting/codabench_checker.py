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
IDS = "final_test_ids.json"  # of a blind final
EMAIL = r"[A-Za-z0-9_.+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+"
NARROW = 12  # letters of a column's title: the board shows six of them at 1,280 pixels
LARGE = 50_000_000  # bytes of a solution


def problems(path):
    """Everything that is wrong with a bundle: one line each, beginning with the piece."""
    files = unzipped(path.read_bytes())
    if "competition.yaml" not in files:
        return ["competition.yaml: not at the root of the zip"]
    return Checker(yaml.safe_load(files["competition.yaml"]), files).check()


def is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def unzipped(content):
    """Name -> content of the files in a zip."""
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        return {name: source.read(name) for name in source.namelist() if name[-1] != "/"}


class Checker:
    def __init__(self, competition, files):
        self.competition, self.files, self.problems = competition, files, []

    def need(self, fact, piece, words):
        if not fact:
            self.problems.append(f"{piece}: {words}")
        return bool(fact)

    def need_texts(self, part, piece, **longest):
        """A problem for each text of a mapping that is missing, empty or too long."""
        for key, length in longest.items():
            text = part.get(key)
            good = isinstance(text, str) and text.strip() and len(text) <= length
            self.need(good, f"{piece}{key}", f"1 to {length} characters")

    def need_bool(self, part, piece, key):
        self.need(isinstance(part.get(key, False), bool), f"{piece}{key}", "must be true or false")

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
        """Name -> content of a zip in the bundle; a problem if there is none."""
        content = self.file(name, piece)
        return unzipped(content) if content else {}

    def inside(self, name):
        """The names of the files in a member that is a zip; none for another one."""
        whole = zipfile.is_zipfile(io.BytesIO(self.files[name]))
        return set(unzipped(self.files[name])) if whole else set()

    def unique(self, items, key, piece):
        values = [item.get(key) for item in items]
        distinct = {json.dumps(value) for value in values}
        self.need(len(distinct) == len(values), piece, f"{key} not unique")
        return values

    def indexed(self, key):
        """The entries of a list, each of which must have an index of its own."""
        items = self.items(key)
        for index in self.unique(items, "index", key):
            self.need(is_count(index), key, "index missing")
        return items

    def need_tasks(self, part, piece):
        known = {task.get("index") for task in self.competition.get("tasks") or []}
        tasks = part.get("tasks") or []
        self.need(tasks and set(tasks) <= known, f"{piece}.tasks", "no such task")

    def check(self):
        c = self.competition
        self.need(c.get("version") == 2, "version", "must be 2; missing means 1")
        self.need_texts(c, "", title=255)
        self.need(c.get("docker_image") == IMAGE, "docker_image", f"must be {IMAGE}")
        self.need(c.get("enable_detailed_results") is True, "enable_detailed_results",
                  "must be true, or the page is ignored")  # fmt: skip
        self.need_bool(c, "", "registration_auto_approve")
        self.need(c.get("can_participants_make_submissions_public") is False,
                  "can_participants_make_submissions_public",
                  "must be false, or entries can be copied")  # fmt: skip
        email, reward = str(c.get("contact_email", "a@b.c")), str(c.get("reward", "none"))
        self.need(len(email) <= 256 and re.fullmatch(EMAIL, email), "contact_email", "not one")
        self.need(0 < len(reward) <= 256, "reward", "not 1 to 256 characters")
        self.check_fact_sheet()
        self.check_pages()
        self.check_tasks()
        self.check_solutions()
        self.check_phases()
        self.check_leaderboard()
        return self.problems

    def check_fact_sheet(self):
        """The questions asked with an entry: their form, and that they ask what rule 4 wants."""
        sheet = self.competition.get("fact_sheet") or {}
        self.need(len(json.dumps(sheet)) <= 4096, "fact_sheet", "longer than 4,096 characters")
        for key, question in sheet.items():
            piece = f"fact_sheet.{key}"
            self.need_texts(question, f"{piece}.", title=100)
            self.need(question.get("key") == key, piece, "another key")
            self.need((question.get("type"), question.get("selection")) == ("text", ""), piece,
                      "not answered by a text")  # fmt: skip
            self.need(question.get("is_required") in ("true", "false"), piece,
                      "is_required is not the text true or false")  # fmt: skip
            self.need(question.get("is_on_leaderboard") == "false", piece, "takes a column")
        for key in ("training_data", "pretrained_models"):
            self.need(sheet.get(key, {}).get("is_required") == "true", "fact_sheet",
                      f"no question about {key} that must be answered")  # fmt: skip

    def check_rules(self):
        """The rules say who may take part, how ties count, and when the archive appears."""
        rules = self.files.get("pages/rules.md", b"").decode()
        for words in ("A team takes part as one participant", "share the first place",
                      "publish an archive"):  # fmt: skip
            self.need(words in rules, "pages/rules.md", f"does not say: {words}")
        terms = self.files.get(self.competition.get("terms"), b"").decode()
        self.need("in the archive" in terms, "terms", "entries are published, and it does not say")

    def check_pages(self):
        self.check_rules()
        self.file(self.competition.get("terms"), "terms")
        for place, page in enumerate(self.items("pages")):
            self.need_texts(page, f"pages[{place}].", title=255)
            self.file(page.get("file"), f"pages[{place}].file")
        content = self.file(self.competition.get("image"), "image")
        try:
            with Image.open(io.BytesIO(content)) as image:
                image.load()
                self.need(fits_circle(image), "image", "cut off by the circle that it is shown in")
        except (OSError, SyntaxError):
            self.need(not content, "image", "not a picture that PIL opens")

    def check_tasks(self):
        tasks, truths = self.indexed("tasks"), set()
        for place, task in enumerate(tasks):
            piece = f"tasks[{place}]"
            self.need_texts(task, f"{piece}.", name=256)
            program = self.archive(task.get("scoring_program"), f"{piece}.scoring_program")
            self.check_program(program, f"{piece}.scoring_program")
            reference = self.archive(task.get("reference_data"), f"{piece}.reference_data")
            truths.add(tuple(sorted(reference)))
            if IDS in reference:
                self.check_blind(reference, f"{piece}.reference_data")
                continue
            rest = [name for name in reference if name not in TRUTHS]
            self.need(len(reference) == 2 and rest == ["track.txt"], f"{piece}.reference_data",
                      "must hold one ground-truth file and its track")  # fmt: skip
        self.need(len(truths) == len(tasks), "tasks", "two score the same ground truth")

    def check_blind(self, reference, piece):
        """A blind final: ids and nothing else, and its truth nowhere in the bundle."""
        ids = json.loads(reference[IDS])
        good = len(reference) == 1 and sorted(ids) == ["image_ids", "neuron_ids", "trial_indices"]
        self.need(good, piece, "must hold the ids alone")
        lists = [ids.get(name) or [] for name in ("trial_indices", "image_ids", "neuron_ids")]
        self.need(len(lists[0]) == len(lists[1]) > 0 < len(lists[2]), piece, "ids are missing")
        for name in self.files:
            self.need(TRUTHS[1] not in self.inside(name), name, "holds the truth of a blind final")

    def check_program(self, program, piece):
        if not program:
            return
        if self.need("metadata.yaml" in program, piece, "no metadata.yaml at its root"):
            command = str(yaml.safe_load(program["metadata.yaml"]).get("command"))
            self.need(not re.search(r"[;&|<>$`*?~\"'\\]", command), piece,
                      "the command needs a shell, and gets none")  # fmt: skip
            self.need(command == COMMAND, piece, f"the command is not {COMMAND}")
        self.need("score.py" in program, piece, "no score.py")
        sources = {name: text for name, text in program.items() if name.endswith(".py")}
        known = {name[:-3].replace("/", ".") for name in sources}
        for name, text in sources.items():
            for module in imports(text):
                outside = module.partition(".")[0] in {"numpy", *sys.stdlib_module_names}
                self.need(outside or module in known, piece,
                          f"{name} imports {module}, which is not there")  # fmt: skip
            for file in re.findall(r'"([\w.]+\.(?:html|json))"', text.decode()):
                written = f'output / "{file}"' in text.decode() or file == IDS
                self.need(written or any(each.endswith(f"/{file}") for each in program), piece,
                          f"{name} reads {file}, which is not there")  # fmt: skip

    def check_solutions(self):
        solutions = self.indexed("solutions") if "solutions" in self.competition else []
        for place, solution in enumerate(solutions):
            piece = f"solutions[{place}]"
            self.need_tasks(solution, piece)
            content = self.files.get(solution.get("path"), b"")
            if not self.need(len(content) <= LARGE, piece, "larger than 50 MB, which hangs"):
                continue
            entry = self.archive(solution.get("path"), f"{piece}.path")
            self.need(not {"metadata", "metadata.yaml"} & set(entry), piece,
                      "metadata at its root: taken for a program")  # fmt: skip

    def check_phases(self):
        phases = sorted(self.indexed("phases"), key=lambda phase: phase.get("index") or 0)
        before = None
        for place, phase in enumerate(phases):
            piece = f"phases[{place}]"
            self.need_texts(phase, f"{piece}.", name=256)
            self.need_tasks(phase, piece)
            start, end = self.date(phase.get("start"), f"{piece}.start"), None
            if "end" in phase:
                end = self.date(phase["end"], f"{piece}.end")
                self.need(not (start and end) or start < end, f"{piece}.end", "before the start")
            else:
                self.need(place == len(phases) - 1, f"{piece}.end", "missing; only the last may")
            if before and start:
                self.need(start > before, f"{piece}.start", "not later than the previous end")
                self.need(start.date() > before.date(), f"{piece}.start",
                          "on the day of the previous end, which no backup keeps")  # fmt: skip
            before = end
            self.check_limits(phase, piece)

    def date(self, value, piece):
        if not self.need(isinstance(value, str), piece, "not a quoted date, so read as midnight"):
            return None
        try:
            date = datetime.datetime.fromisoformat(value)
        except ValueError:
            self.need(False, piece, "not a date")
            return None
        return date if self.need(not date.tzinfo, piece, "an offset, which is dropped") else None

    def check_limits(self, phase, piece):
        day, most = phase.get("max_submissions_per_day", 5), phase.get("max_submissions", 100)
        good = is_count(day) and is_count(most) and 1 <= day <= most
        self.need(good, f"{piece}.max_submissions", "not 1 or more a day, and no fewer in all")
        limit = phase.get("execution_time_limit", 600)
        self.need(is_count(limit) and 0 < limit <= 600, f"{piece}.execution_time_limit",
                  "not 1 to 600 seconds")  # fmt: skip
        self.need_bool(phase, f"{piece}.", "hide_score_output")
        kit = self.archive(phase.get("starting_kit"), f"{piece}.starting_kit")
        text = kit.get("README.md", b"").decode()
        self.need(re.search(r"\b0\.\d{4}\b", text), f"{piece}.starting_kit",
                  "no README.md with the expected scores")  # fmt: skip
        token = "token" in text and "allow_robot_submissions" not in text
        self.need(token, f"{piece}.starting_kit", "does not say that a token will do to submit")

    def check_leaderboard(self):
        boards = self.items("leaderboards")
        self.need(len(boards) < 2, "leaderboards", "only the first is used")
        for board in boards[:1]:
            piece, columns = "leaderboards[0]", board.get("columns") or []
            self.need_texts(board, f"{piece}.", title=64, key=36)
            self.need(board.get("submission_rule") in RULES, f"{piece}.submission_rule",
                      "not one of the platform's, so it hangs")  # fmt: skip
            self.need(columns, f"{piece}.columns", "none")
            indices = self.unique(columns, "index", f"{piece}.columns")
            self.unique(columns, "key", f"{piece}.columns")
            self.need(board.get("primary_index") in indices, f"{piece}.primary_index",
                      "not the index of a column, so the page crashes")  # fmt: skip
            for place, column in enumerate(columns):
                self.need_texts(column, f"columns[{place}].", title=NARROW, key=36)
                precision = 0 if column.get("key") == "valid" else 4
                for key, value in {"sorting": "desc", "precision": precision}.items():
                    self.need(column.get(key) == value, f"columns[{place}].{key}", f"not {value}")
                self.need(is_count(column.get("index")), f"columns[{place}].index", "missing")
            blind = any(IDS in self.inside(name) for name in self.files)
            self.need(any(column.get("key") == "valid" for column in columns) == blind,
                      f"{piece}.columns", "valid is for a blind final")  # fmt: skip


def fits_circle(image):
    """Whether a square picture has one colour outside its inscribed circle."""
    picture = image.convert("RGB")
    size, ground = picture.width, picture.getpixel((0, 0))
    outside = [
        picture.getpixel((x, y)) for x in range(size) for y in range(picture.height)
        if (2 * x + 1 - size) ** 2 + (2 * y + 1 - size) ** 2 > size**2
    ]  # fmt: skip
    return picture.height == size and all(
        max(abs(one - two) for one, two in zip(pixel, ground, strict=True)) < 8 for pixel in outside
    )


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
