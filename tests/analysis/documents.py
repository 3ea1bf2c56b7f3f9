"""What the document of `dametric correlate --json` looks like: its keys, with the names that data bring left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.benchmarks.made_up import NINE, study

HERE = Path(__file__).parent
KEYS = HERE / "document_keys.json"
SAMPLE = HERE / "document.json"
DEMO = HERE.parents[1] / "experiments" / "results" / "digits" / "demo"
AUGS = ("identity", "cutout", "autoaugment", "mixup", "cutmix", "snow", "cutmix:alpha=0.2")


def write_table(path: Path, units: tuple[str, ...]) -> str:
    """A table from elsewhere: accuracies and four metrics, of which one has no known direction."""
    draw = np.random.default_rng(7)
    rows = []
    for unit in ("a -> b", "c -> d"):
        loss = 1 - 0.08 * np.arange(7) + 0.03 * draw.normal(size=7)
        for place, aug in enumerate(AUGS):
            about = {"unit": unit, "augmentation": aug, "accuracy": round(1 - loss[place] / 2, 6), "accuracy_se": 0.004}
            own = {"my_score": round(loss[place] + 0.05 * draw.normal(), 6), "my_score_se": 0.02}
            more = {"t_entropy": round(2 - loss[place] + 0.1 * draw.normal(), 6), "other": round(draw.normal(), 6)}
            kept = {"information_kept": round(1 - 0.1 * place - (0.3 if aug == "snow" else 0), 6), "seeds": 3}
            rows.append({**about, **own, **more, **kept})
    table = pd.DataFrame(rows)
    table = table[table["unit"].isin(units)]
    (table if len(units) > 1 else table.drop(columns="unit")).to_csv(path, index=False)
    return str(path)


def cases(folder: Path) -> dict[str, tuple[list[str], dict[str, Any]]]:
    """Paths and options of every kind of input."""
    several = study(folder / "study", NINE, 3, 2)
    return {
        "published": ([], {"published": True}),
        "one unit": ([str(DEMO / "scores.json"), str(DEMO / "runs")], {}),
        "several units": (several, {"metrics": ["t_stddev", "t_entropy"]}),
        "table": ([write_table(folder / "two.csv", ("a -> b", "c -> d"))], {"better": ["my_score=lower"]}),
        "table of one unit": ([write_table(folder / "one.csv", ("a -> b",))], {"metrics": ["other", "my_score"]}),
    }


def keys_of(document: dict[str, Any]) -> list[str]:
    """Every path of keys in a document, sorted."""
    units, metrics = set(document["units"]), set(document["metrics"])
    described = [found for unit in document["units"].values() for found in unit.values()]
    augs = {aug for found in described for aug in found["augs"]}
    families = {family for found in described for family in found["families"]}
    names = [(units, "UNIT"), (metrics, "METRIC"), (augs, "AUG"), (families, "FAMILY")]

    def paths(value: Any, before: str) -> set[str]:
        if isinstance(value, list):
            return {before + "[]"}.union(*(paths(item, before + "[]") for item in value))
        if not isinstance(value, dict):
            return {before}
        found = {before}
        for key, item in value.items():
            of_data = before.rpartition(".")[2] not in ("", "settings", "noise")
            word = next((word for known, word in names if of_data and key in known), key)
            found |= paths(item, f"{before}.{word}")
        return found

    return sorted(paths(document, ""))


def compact(document: dict[str, Any]) -> str:
    """A document as one line."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n"
