"""How each number of a report was made."""

from __future__ import annotations

import json
from collections import Counter
from importlib import metadata
from pathlib import Path

import pandas as pd

from dametric.analysis import Analysis
from dametric.records.runs import code_version, read_record
from dametric.records.scores import Scores

LIBRARIES = ("numpy", "scipy", "pandas", "statsmodels", "matplotlib", "Jinja2")


def provenance(analysis: Analysis, made_by: str = "") -> list[tuple[str, str]]:
    """How each number was made, as names and texts."""
    settings, study, code = analysis.settings, analysis.study, code_version()
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES)
    rows = [
        ("Command", made_by),
        ("Primary endpoint", analysis.primary),
        ("Fixed in advance", ", ".join(entry.metric for entry in analysis.confirmatory)),
        (
            "Analysis",
            f"level {settings.alpha:g}, intervals {100 * settings.confidence:g} %, {settings.resamples} random"
            f" permutations where not exact, seed {settings.seed}",
        ),
        ("Program", f"dametric {code['version']}, source {code['sha256']}; {versions}"),
        *(("Note", note) for note in study.notes),
    ]
    if not study.scores:
        rows += [("Table", f"{path}, SHA-256 {digest}") for path, digest in study.files]
    for (path, digest), file in zip(study.files, study.scores, strict=False):
        rows += _of_scores(path, digest, file)
    if study.runs is not None:
        rows += _of_runs(study.runs)
    return [(name, text) for name, text in rows if text]


def _of_scores(path: str, digest: str, file: Scores) -> list[tuple[str, str]]:
    config, teacher = file.config, file.config.get("teacher") or {}
    settings = {name: config[name] for name in ("protocol", "n", "G", "b", "w", "temperature", "per") if name in config}
    listed = ", ".join(f"{name} {value}" for name, value in settings.items())
    data = config.get("data") or {}
    versions = ", ".join(f"{name} {value}" for name, value in file.versions.items())
    return [
        ("Score file", f"{path}, SHA-256 {digest}"),
        ("— teacher", f"{teacher.get('arch', 'not named')}, SHA-256 {teacher.get('sha256', 'not known')}"),
        ("— data", f"{data.get('name', 'not named')}, fingerprint {data.get('fingerprint', 'not known')}"),
        ("— settings", f"{file.batches} batches, seed {config.get('seed', 'not known')}, {listed}"),
        ("— versions", versions),
    ]


def _of_runs(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """What the runs have in common is said once: recipes, code and versions with how many runs have them."""
    recipes, codes, versions = Counter[str](), Counter[str](), Counter[str]()
    for folder in runs.get("folder", ()):
        record = read_record(Path(folder) / "record.json")
        recipe = {k: v for k, v in record["config"]["recipe"].items() if k not in ("aug", "seed")}
        recipes[json.dumps(recipe, sort_keys=True)] += 1
        code = record.get("code") or {}
        codes[f"dametric {code.get('version')}, source {code.get('sha256')}"] += 1
        versions[", ".join(f"{name} {value}" for name, value in (record.get("versions") or {}).items())] += 1
    status = ", ".join(f"{number} {name}" for name, number in runs["status"].value_counts().items())
    seeds = ", ".join(str(seed) for seed in sorted(runs["seed"].dropna().unique()))
    teachers = ", ".join(str(digest) for digest in runs["teacher_sha256"].dropna().unique())
    rows = [("Runs", f"{len(runs)}: {status}; seeds {seeds}"), ("— teachers, SHA-256", teachers)]
    for name, counter in (("recipe", recipes), ("code", codes), ("versions", versions)):
        rows += [(f"— {name} of {number}", text) for text, number in counter.most_common()]
    return rows
