"""Run the notebooks, all or those whose numbers are given, and say what came out.

Templates run only in place, or if they are named: template_core, template_recording. "template" is
the first of them.
Executed copies go to build/notebooks/; with --in-place they replace the committed notebooks. With
other parameters (-p mouse 99003-1-1) they, and all that they write, go to a folder of their own.
"""

import argparse
import ast
import base64
import io
import json
import multiprocessing
import os
import re
import signal
import sys
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BUILD = ROOT / "build"
LIMIT = 30  # minutes for one notebook: slow and busy machines get there, a hung one does not
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


class Result(NamedTuple):
    seconds: float
    megabytes: float | None  # peak of the kernel, None where the system does not tell
    headline: str
    error: str  # empty when all went well


# ---- one notebook ----


def kernel_options():
    """What papermill needs to start kernels of this very Python, whatever else is installed."""
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpecManager

    class ThisPython(AsyncKernelManager):
        def _kernel_spec_manager_default(self):
            return KernelSpecManager(kernel_dirs=[])  # only the one that ipykernel brings

    return {
        "kernel_name": "python3",
        "kernel_manager_class": ThisPython,
        "progress_bar": False,
        "start_timeout": max(60, 60 * LIMIT),
        "extra_arguments": ["--IPKernelApp.log_level=CRITICAL"],  # it warns of using loopback
    }


def execute(source, target, parameters=None, cwd=ROOT):
    """Run one notebook. Called in a fresh process, whose only child is the kernel."""
    import papermill  # here, because only the child needs it
    from nbclient.exceptions import CellTimeoutError

    start, headline, error = time.perf_counter(), "", ""

    def time_left(_cell):
        return max(1, start + 60 * LIMIT - time.perf_counter())

    options = kernel_options() | skipped_cells(parameters or {})
    try:
        notebook = papermill.execute_notebook(
            source, target, parameters, cwd=cwd, timeout_func=time_left, **options
        )
        headline = find_headline(notebook)
    except papermill.PapermillExecutionError as e:
        first_line = e.source.strip().partition("\n")[0]
        error = f"cell [{e.exec_count}] {first_line!r}: {e.ename}: {e.evalue[:500]}"
    except CellTimeoutError:
        error = (
            f"not done after {LIMIT} minutes, the limit for one notebook; close other programs, or "
            "run its cells one by one with make lab, which waits as long as you do"
        )
    except Exception as e:  # a dead kernel, a file that is not a notebook
        error = f"{type(e).__name__}: {str(e).strip()[:500]}"
    return Result(time.perf_counter() - start, peak_megabytes(), headline, error)


def skipped_cells(parameters):
    """What papermill needs to skip cells with the tag `simulated` on a mouse without a truth."""
    if "mouse" not in parameters:
        return {}
    from kit.data.simulation import is_simulated  # here, because it takes a second

    return {} if is_simulated(parameters["mouse"]) else {"skip_cells_with_tag": "simulated"}


def peak_megabytes():
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)  # in bytes there, else in kilobytes


def find_headline(notebook):
    """The text that the cell tagged `headline` shows, on one line."""
    cells = [c for c in notebook.cells if "headline" in c.metadata.get("tags", [])]
    outputs = [(o.get("text", ""), o.get("data", {})) for c in cells for o in c.get("outputs", [])]
    texts = [text or data.get("text/plain", "").strip("'\"")
             for text, data in outputs if "image/png" not in data]  # fmt: skip
    return " ".join(" ".join(texts).split())


def replace(committed, executed):
    """Put the executed notebook in the committed one's place, whole or not at all.

    What differs from run to run though nothing has changed is removed; ids and counts stay.
    """
    import nbformat

    notebook = nbformat.read(executed, as_version=4)
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = {"tags": tags} if tags else {}
        for output in cell.get("outputs", []):  # without a kernel only a widget's text can be shown
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
        if cell.cell_type == "code":
            cell.outputs = join_streams(cell.outputs)
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = shrink(output.data["image/png"])
    part = committed.with_name(f".{committed.name}.part")
    nbformat.write(notebook, part)
    os.replace(part, committed)


def shrink(encoded):
    """A PNG (base64) in at most 256 colours, a third of its size; a transparent one as it is."""
    from PIL import Image

    picture = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGBA")
    if picture.getchannel("A").getextrema()[0] < 255:
        return encoded
    smaller = io.BytesIO()
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
        smaller, "PNG", optimize=True
    )
    return base64.b64encode(smaller.getvalue()).decode()


def join_streams(outputs):
    """Outputs in which what was printed in one go is one text: kernels send it in pieces."""
    joined = []
    for output in outputs:
        before = joined[-1] if joined else {}
        if output.get("name") and output.get("name") == before.get("name"):
            before["text"] += output["text"]
        else:
            joined.append(output)
    return joined


def execute_all(jobs, together):
    """Yield (name, result) of `execute(*arguments)` for each job, name -> arguments, as they end.

    So many run together, each in a process of its own: its peak of memory is that of its kernel
    alone. Ctrl-C is for this process, which ends the others.
    """
    context = multiprocessing.get_context("spawn")
    waiting, running = list(jobs.items()), {}
    try:
        while waiting or running:
            while waiting and len(running) < together:
                name, arguments = waiting.pop(0)
                print(f"{name} ...", flush=True)
                pool = ProcessPoolExecutor(1, context, ignore_interrupts)
                with interrupts_held():
                    running[pool.submit(execute, *arguments)] = name, pool
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                name, pool = running.pop(done)
                pool.shutdown()
                yield name, done.result()
    finally:
        for process in multiprocessing.active_children():
            process.terminate()


@contextmanager
def interrupts_held():
    """Within the block Ctrl-C waits, also in a process that starts there (not so on Windows)."""
    held = []
    before = signal.signal(signal.SIGINT, lambda *_: held.append("Ctrl-C"))
    if os.name != "nt":  # a new process begins with the mask of the thread that starts it
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        if os.name != "nt":
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        signal.signal(signal.SIGINT, before)
        if held:
            signal.raise_signal(signal.SIGINT)


def ignore_interrupts():
    """Leave Ctrl-C to the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.name != "nt":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


# ---- its parameters ----


def read_parameters(path):
    """Name -> value in the cell tagged `parameters`."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", [])]
    lines = [line for source in sources for line in ast.parse(source).body]
    return {line.targets[0].id: ast.literal_eval(line.value) for line in lines}


def parse_parameters(path, given):
    """Name -> value of the given (name, text). Raises ValueError with what is allowed instead."""
    usual, values = read_parameters(path), {}
    for name, text in given:
        if name not in usual:
            raise ValueError(
                f"{path.stem} has no parameter {name!r}; its parameters are {', '.join(usual)}"
            )
        values[name] = parse_value(text, usual[name])
        if values[name] is None:
            raise ValueError(
                f"{path.stem} cannot take {text!r} as {name}; give a value such as {usual[name]!r}"
            )
    return values


def parse_value(text, usual):
    """The value of a text, of the kind that a usual value has; None if it is of another kind."""
    if isinstance(usual, str):  # so an id stays one; a file is meant from here
        is_path = "/" in text or os.sep in text or text.endswith(".zip")
        return str(Path(text).resolve()) if is_path and Path(text).exists() else text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None
    if isinstance(usual, list):
        same = isinstance(value, list) and {type(v) for v in value} <= {type(v) for v in usual}
    else:
        same = type(value) is type(usual) or (type(value), type(usual)) == (int, float)
    return value if same else None


def folder_of(given):
    """Where executed copies go, and the working directory: of their own for other parameters."""
    if not given:
        return BUILD / "notebooks", ROOT
    names = [f"{name}-{Path(value).stem}" for name, value in given]
    folder = BUILD / "notebooks" / re.sub(r"[^\w+-]+", "-", "_".join(names))[:80]
    return folder, folder


# ---- all of them ----


def check_submission():
    import kit

    print("\nThe submission that notebook 00 wrote is in build/submission:")
    report = kit.check(BUILD / "submission", kit.load("sample+"))
    print(report)
    return bool(report)


def read_arguments():
    parser = argparse.ArgumentParser(description="Run the notebooks, and say what came out.")
    parser.add_argument("numbers", nargs="*", metavar="NN", help="which notebooks; default all")
    parser.add_argument("--in-place", action="store_true", help="refresh them and the solutions")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
                        dest="parameters", help="another value for a parameter")  # fmt: skip
    return parser.parse_args()


def find_notebooks(args):
    """Path -> the values of its parameters that differ. Raises ValueError if one cannot be."""
    folders = [HERE, HERE / "solutions"] if args.in_place else [HERE]
    kinds = ["[0-9][0-9]_*.ipynb", "template_*.ipynb"]
    found = [path for folder in folders for kind in kinds for path in sorted(folder.glob(kind))]
    known = list(dict.fromkeys(map(number_of, found)))
    numbers = ["template_core" if number == "template" else number for number in args.numbers]
    unknown = [number for number in numbers if number not in known]
    if unknown:
        raise ValueError(f"there is no notebook {unknown[0]}; choose of {', '.join(known)}")
    if args.in_place and args.parameters:
        raise ValueError("--in-place keeps the committed parameters; leave out -p")
    if not numbers:
        numbers = [n for n in known if args.in_place or not n.startswith("template_")]
    chosen = [path for path in found if number_of(path) in numbers]
    return {path: parse_parameters(path, args.parameters) for path in chosen}


def number_of(path):
    """What a notebook is called here: 03, or the whole name of a template."""
    is_template = path.name.startswith("template_")
    return path.stem if is_template else path.name.partition("_")[0]


def give_home():
    """A home in build/ if this user has none, or cannot write in it: Jupyter's kernels need one."""
    home = Path(os.path.expanduser("~"))  # "~" itself where there is none
    if not os.access(home, os.W_OK):
        os.environ["HOME"] = str(BUILD / "home")
        (BUILD / "home").mkdir(exist_ok=True)


def share_cores(count):
    """How many of so many notebooks run at a time. Each of two has half of the cores.

    On few cores that is faster than all cores for each in turn.
    """
    import joblib  # here, because it takes a moment

    from kit.machine import memory_gigabytes

    cores, memory = joblib.cpu_count(), memory_gigabytes()
    if min(cores, count) < 2 or (memory or 4) < 4:
        return 1
    os.environ.setdefault("OMP_NUM_THREADS", str(cores // 2))
    return 2


def print_table(results):
    width = max(map(len, results))
    print(f"\n{'notebook':{width}}  seconds  peak MB  headline")
    for name, r in results.items():
        peak = f"{r.megabytes:.0f}" if r.megabytes else "-"
        print(f"{name:{width}}  {r.seconds:7.1f}  {peak:>7}  {'FAILED' if r.error else r.headline}")


def main():
    sys.stdout.reconfigure(errors="replace")  # what the terminal cannot show becomes "?"
    args = read_arguments()
    folder, cwd = folder_of(args.parameters)
    try:
        notebooks = find_notebooks(args)
        for path in notebooks:
            (folder / path.relative_to(HERE)).parent.mkdir(parents=True, exist_ok=True)
    except ValueError as problem:
        print(f"run.py: {problem}", file=sys.stderr)
        return 2
    except OSError as problem:
        reason = f"cannot be written ({problem.strerror.lower()})"
        print(f"run.py: {problem.filename} {reason}; make room or move the kit", file=sys.stderr)
        return 2

    give_home()
    os.environ["CI"] = "1"  # the kit draws no progress bars then
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # a debugger's warning, of no use here
    together = 1 if args.in_place else share_cores(len(notebooks))
    print(
        f"Notebooks to run: {len(notebooks)}, {together} at a time. Each takes about a minute on "
        "an idle core, several times that on a slow or busy machine, and may take "
        f"{LIMIT} minutes."
    )
    jobs = {}
    for path, values in notebooks.items():
        within = path.relative_to(HERE)
        jobs[within.with_suffix("").as_posix()] = path, folder / within, values, cwd
    results = dict.fromkeys(jobs)
    for name, result in execute_all(jobs, together):
        results[name] = result
        text = f"FAILED\n    {result.error}" if result.error else f"{result.seconds:.0f} s"
        print(f"{name}: {text}", flush=True)
        if args.in_place and not result.error:
            replace(*jobs[name][:2])

    print_table(results)
    print(f"The executed notebooks are in {folder.relative_to(ROOT).as_posix()}.")
    if args.in_place:
        import badges  # beside this file

        badges.stamp()

    failed = sum(bool(r.error) for r in results.values())
    submitted = any(name.startswith("00") and not r.error for name, r in results.items())
    valid = check_submission() if submitted and not args.parameters else True
    if failed:
        print(f"\n{failed} of {len(results)} notebooks failed.")
    return int(failed > 0 or not valid)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nrun.py: stopped; run it again to start over", file=sys.stderr)
        sys.exit(130)
