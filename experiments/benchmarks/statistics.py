"""How long the statistics take: `python -m experiments.benchmarks.statistics`.

The exact permutation test of nine points for all three coefficients, nothing remembered from an earlier call, and
whole reports of about 500 runs as their command makes them: the paper's nine augmentations for 14 teacher-student
pairs with 4 seeds each, and 18 augmentations for 7 pairs. Scores and students of the reports are made up. Seconds of
wall time, medians of fresh processes; starting Python and importing libraries count for the reports.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from dametric.base.files import write_atomic
from experiments.benchmarks.made_up import EIGHTEEN, NINE, study

AIMS = {"permutation": 1.0, "report": 20.0}
STUDIES = {"9 augmentations, 14 pairs, 4 seeds": (NINE, 14, 4), "18 augmentations, 7 pairs, 4 seeds": (EIGHTEEN, 7, 4)}
COEFFICIENTS = ("pearson", "spearman", "kendall")
_EXACT = """
import json, time
import numpy as np
from dametric.stats import correlate
x, y = np.random.default_rng(0).standard_normal((2, 9))
seconds = {}
for name in %r:
    start = time.perf_counter()
    assert "exact" in correlate(x, y, name).method
    seconds[name] = time.perf_counter() - start
print(json.dumps(seconds))
"""
_REPORT = """
import sys, time
start = time.perf_counter()
import dametric
dametric.report(sys.argv[2:], sys.argv[1], quiet=True)
assert "torch" not in sys.modules
print(time.perf_counter() - start)
"""


def fresh(code: str, *arguments: str) -> str:
    """What a new Python process prints."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def _cpu() -> float:
    """Seconds of CPU that finished children have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(
    rounds: Annotated[int, typer.Option(help="Repetitions; the median counts.")] = 5,
    output: Annotated[str | None, typer.Option("--output", "-o", help="Write the numbers as JSON.")] = None,
) -> None:
    """Measure and print."""
    exact = [json.loads(fresh(_EXACT % (COEFFICIENTS,))) for _ in range(rounds)]
    seconds = {name: statistics.median(found[name] for found in exact) for name in COEFFICIENTS}
    total = statistics.median(sum(found.values()) for found in exact)
    listed = ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items())
    print(f"exact permutation, 9 points: {listed}; together {total:.2f} s (aim: {AIMS['permutation']:g} s)")
    reports: dict[str, dict[str, Any]] = {}
    for name, size in STUDIES.items():
        with tempfile.TemporaryDirectory() as folder:
            paths = study(Path(folder), *size)
            page = Path(folder) / "report.html"
            each, before = [], _cpu()
            for _ in range(rounds):
                each.append(float(fresh(_REPORT, str(page), *paths)))
            cpu = (_cpu() - before) / rounds
            runs, size_of = len(list(Path(paths[-1]).iterdir())), page.stat().st_size
        middle = statistics.median(each)
        reports[name] = {"runs": runs, "seconds": middle, "cpu_seconds": cpu, "bytes": size_of}
        print(
            f"report of {runs} runs ({name}): {middle:.1f} s, {cpu:.1f} s of CPU, {size_of / 1e6:.1f} MB"
            f" (aim: {AIMS['report']:g} s)"
        )
    if output is not None:
        import torch

        from dametric.base.environment import machine  # torch, which nothing above needs

        command = " ".join(["python -m experiments.benchmarks.statistics", *sys.argv[1:]])
        permutation = {"seconds": seconds, "together": total}
        numbers = {"permutation of 9 points": permutation, "reports": reports, "aims": AIMS}
        about = {"command": command, "rounds": rounds, "versions": machine(torch.device("cpu"))}
        write_atomic(output, json.dumps({**about, **numbers}, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
