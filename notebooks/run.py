"""Run the notebooks, all or those whose numbers are given, and say what came out.

Templates run only in place, or where they are named: template.
Executed copies go to build/notebooks/; with --in-place they replace the committed notebooks.
"""

import argparse
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build"
LIMIT = 30  # minutes for one notebook: slow and busy machines get there, a hung one does not
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


class Result(NamedTuple):
    seconds: float
    megabytes: float | None  # peak of the kernel, None where the system does not tell
    headline: str
    error: str  # empty when all went well


def execute(source, target):
    """Run one notebook. Called in a fresh process, whose only child is the kernel."""
    import papermill  # here, because only the child needs it
    from nbclient.exceptions import CellTimeoutError

    start, headline, error = time.perf_counter(), "", ""

    def time_left(_cell):
        return max(1, start + 60 * LIMIT - time.perf_counter())

    options = {"kernel_name": "python3", "timeout_func": time_left, "progress_bar": False}
    quiet = ["--IPKernelApp.log_level=CRITICAL"]  # ipykernel 7 warns of listening on loopback
    try:
        notebook = papermill.execute_notebook(
            source, target, cwd=HERE, extra_arguments=quiet, **options
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
    part = committed.with_name(f".{committed.name}.part")
    nbformat.write(notebook, part)
    os.replace(part, committed)


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


def check_submission():
    import kit

    print("\nThe submission that notebook 00 wrote is in build/submission:")
    report = kit.check(BUILD / "submission", kit.load("sample+"))
    print(report)
    return bool(report)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("numbers", nargs="*", metavar="NN", help="which notebooks; default all")
    parser.add_argument("--in-place", action="store_true", help="refresh them and the solutions")
    args = parser.parse_args()

    folders = [HERE, HERE / "solutions"] if args.in_place else [HERE]
    templates = args.in_place or "template" in args.numbers
    kinds = ["[0-9][0-9]_*.ipynb", *["template_*.ipynb"] * templates]
    found = [path for folder in folders for kind in kinds for path in sorted(folder.glob(kind))]
    found = [p for p in found if not args.numbers or p.name.partition("_")[0] in args.numbers]
    if not found:
        parser.error("no such notebook")

    os.environ["CI"] = "1"  # the kit draws no progress bars then
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # a debugger's warning, of no use here
    print(
        f"Notebooks to run: {len(found)}. Each takes about a minute on two idle cores, several "
        f"times that on a slow or busy machine, and may take {LIMIT} minutes."
    )
    results = {}
    for path in found:
        name = path.relative_to(HERE).with_suffix("").as_posix()
        target = BUILD / "notebooks" / path.relative_to(HERE)
        target.parent.mkdir(parents=True, exist_ok=True)
        print(f"{name} …", end=" ", flush=True)
        # One process a notebook, so that the peak of memory is that of this kernel alone.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            results[name] = pool.submit(execute, path, target).result()
        error = results[name].error
        print(f"{results[name].seconds:.0f} s" if not error else f"FAILED\n    {error}", flush=True)
        if args.in_place and not error:
            replace(path, target)

    width = max(map(len, results))
    print(f"\n{'notebook':{width}}  seconds  peak MB  headline")
    for name, r in results.items():
        peak = f"{r.megabytes:.0f}" if r.megabytes else "–"
        print(f"{name:{width}}  {r.seconds:7.1f}  {peak:>7}  {'FAILED' if r.error else r.headline}")
    print("The executed notebooks are in build/notebooks.")
    if args.in_place:
        import badges  # beside this file

        badges.stamp()

    failed = sum(bool(r.error) for r in results.values())
    submitted = any(name.startswith("00") and not r.error for name, r in results.items())
    valid = check_submission() if submitted else True
    if failed:
        print(f"\n{failed} of {len(results)} notebooks failed.")
    return int(failed > 0 or not valid)


if __name__ == "__main__":
    sys.exit(main())
