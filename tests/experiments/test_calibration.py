"""The committed table of the calibration: what it claims, and whether it can be made again."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from experiments import calibration
from experiments.calibration import FOLDER, row, simulated
from experiments.calibration_cases import CASES, COVERAGE, LEVEL, Case
from tests.loops import each

TABLE = FOLDER / "calibration.csv"
NAMES = [case.name for case in CASES]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_csv(TABLE).set_index("case")


def test_the_table_is_of_these_cases_with_two_thousand_studies_each(table: pd.DataFrame) -> None:
    assert list(table.index) == NAMES
    assert (table["studies"] == 2000).all()
    assert Path(TABLE.with_suffix(".json")).is_file()


def test_claims_are_those_of_the_protocol() -> None:
    assert (LEVEL, COVERAGE) == ((0.035, 0.065), (0.93, 0.97))
    for case in CASES:
        assert case.claim in (None, LEVEL if case.kind == "test" else COVERAGE)


def test_joint_permutation_keeps_its_level_where_units_share_effects(table: pd.DataFrame) -> None:
    joint = table[table.index.str.startswith("joint permutation")]
    assert len(joint) == 6
    assert joint["share"].between(*LEVEL).all()
    naive = table[table["kind"] == "naive"]
    shared = naive[naive.index.str.contains("50%|90%")]
    assert (shared["share"] > 0.15).all(), "what ignores the shared effects rejects far too often"


def test_pvalues_are_uniform(table: pd.DataFrame) -> None:
    """But for their steps: one of these tests has p-values no finer than 0.02 near 1."""
    tests = table[table["kind"] == "test"]
    assert (abs(tests["at_1"] - 0.01) < 4 * math.sqrt(0.01 * 0.99 / 2000)).all()
    assert (tests["at_10"] < 0.1 + 4 * math.sqrt(0.09 / 2000)).all()


@each("name", [case.name for case in CASES if case.claim])
def test_what_is_claimed_is_kept(name: str, table: pd.DataFrame) -> None:
    line = table.loc[name]
    kept = line["claim_low"] <= line["share"] <= line["claim_high"]
    assert line["kept"] == ("yes" if kept else "no")
    assert kept, f"{line['share']:.3f} ± {line['se']:.3f}"


@each("case", CASES)
def test_a_few_studies_agree_with_the_table(case: Case, table: pd.DataFrame) -> None:
    studies = 12
    values = np.array(simulated(case, 0, range(studies)))
    assert np.isnan(values).sum() <= studies / 2
    share = row(case, values)["share"]
    wanted = float(table.loc[case.name, "share"])
    assert abs(share - wanted) <= 4.5 * math.sqrt(max(wanted * (1 - wanted), 0.02) / studies)


def test_what_a_table_has_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = [case for case in CASES if "Fisher, 9" in case.name][:3]
    monkeypatch.setattr(calibration, "CASES", few)
    app, path = typer.Typer(), tmp_path / "table"
    app.command()(calibration.main)

    def called(*more: str) -> int:
        return CliRunner().invoke(app, ["--studies", "4", "-o", str(path), *more]).exit_code

    assert called("--keep") == 2  # there is none yet
    assert called() == 0
    whole = pd.read_csv(f"{path}.csv")
    whole.assign(studies=[1, 2, 3])[1:].to_csv(f"{path}.csv", index=False)
    assert called("--keep", "--only", few[2].name) == 0
    found = pd.read_csv(f"{path}.csv")
    assert list(found["case"]) == [case.name for case in few]
    assert list(found["studies"]) == [4, 2, 4]  # lacking, kept, named
    assert called("--keep") == 2  # nothing is left to do
    assert called("--keep", "--seed", "1", "--only", few[0].name) == 2
    assert len(json.loads(path.with_suffix(".json").read_text())["commands"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_table_can_be_made_again(case: Case, table: pd.DataFrame) -> None:
    """Study by study with its own seed: another version of a library may turn a few of the two thousand."""
    found = row(case, simulated(case, 0, range(2000)))
    assert abs(found["share"] - table.loc[case.name, "share"]) <= 0.002
    if case.claim is not None:
        assert case.claim[0] <= found["share"] <= case.claim[1]
