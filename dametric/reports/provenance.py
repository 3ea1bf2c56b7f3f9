"""How each number of a report was made."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import pandas as pd

from dametric.analysis import Analysis
from dametric.records.record import CodeVersion, RunRecord
from dametric.records.runs import code_version, read_record
from dametric.records.scores import Scores

LIBRARIES = ("numpy", "scipy", "pandas", "statsmodels", "matplotlib", "Jinja2")


def provenance(analysis: Analysis, made_by: str = "") -> list[tuple[str, str]]:
    """How each number was made, as names and texts."""
    settings, study, code = analysis.settings, analysis.study, CodeVersion.of(code_version())
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
        ("Program", f"{_code(code)}; {versions}"),
        *(("Note", note) for note in study.notes),
    ]
    if not study.scores:
        rows += [("Table", f"{path}, SHA-256 {digest}") for path, digest in study.files]
    for (path, digest), file in zip(study.files, study.scores, strict=False):
        rows += _of_scores(path, digest, file)
    if study.runs is not None:
        rows += _of_runs(study.runs)
    return [(name, text) for name, text in rows if text]


def score_provenance(
    scores: Sequence[Scores], files: Sequence[tuple[str, str]], made_by: str = ""
) -> list[tuple[str, str]]:
    """How each number of a page of scores alone was made, as names and texts."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES)
    rows = [("Command", made_by), ("Program", f"{_code(CodeVersion.of(code_version()))}; {versions}")]
    for (path, digest), file in zip(files, scores, strict=True):
        rows += _of_scores(path, digest, file)
    return [(name, text) for name, text in rows if text]


def _of_scores(path: str, digest: str, file: Scores) -> list[tuple[str, str]]:
    config = file.settings
    teacher, data = config.scored, config.data
    names = ("protocol", "n", "G", "b", "w", "temperature", "per")
    listed = ", ".join(f"{name} {value}" for name in names if (value := getattr(config, name)) is not None)
    versions = ", ".join(f"{name} {value}" for name, value in file.versions.items())
    return [
        ("Score file", f"{path}, SHA-256 {digest}"),
        ("— teacher", f"{teacher.arch or 'not named'}, SHA-256 {teacher.sha256 or 'not known'}"),
        ("— data", f"{data.name or 'not named'}, fingerprint {data.fingerprint or 'not known'}"),
        ("— settings", f"{file.batches} batches, seed {'not known' if config.seed is None else config.seed}, {listed}"),
        ("— versions", versions),
    ]


def _code(code: CodeVersion) -> str:
    return f"dametric {code.version}, source {code.sha256}"


def _of_runs(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """What the runs have in common is said once: recipes, code and versions with how many runs have them."""
    recipes, codes, versions = Counter[str](), Counter[str](), Counter[str]()
    for folder in runs.folder if "folder" in runs else ():
        record = RunRecord.of(read_record(Path(folder) / "record.json"))
        recipe = {k: v for k, v in record.config.recipe.document().items() if k not in ("aug", "seed")}
        recipes[json.dumps(recipe, sort_keys=True)] += 1
        codes[_code(record.code or CodeVersion())] += 1
        versions[", ".join(f"{name} {value}" for name, value in (record.versions or {}).items())] += 1
    status = ", ".join(f"{number} {name}" for name, number in runs.status.value_counts().items())
    seeds = ", ".join(str(seed) for seed in sorted(runs.seed.dropna().unique()))
    teachers = ", ".join(str(digest) for digest in runs.teacher_sha256.dropna().unique())
    rows = [("Runs", f"{len(runs)}: {status}; seeds {seeds}"), ("— teachers, SHA-256", teachers)]
    for name, counter in (("recipe", recipes), ("code", codes), ("versions", versions)):
        rows += [(f"— {name} of {number}", text) for text, number in counter.most_common()]
    return rows
