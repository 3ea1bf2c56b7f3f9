"""Records and score files as dataclasses: what is read is written back byte for byte, unknown keys and all."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

from dametric.records.record import Measures, RunRecord, Timing
from dametric.records.runs import Run
from dametric.records.score_rows import ScoreRow
from dametric.records.scores import Scores

RESULTS = Path(__file__).resolve().parents[2] / "experiments" / "results"


def test_every_committed_record_and_score_file_is_written_back_byte_for_byte(tmp_path: Path) -> None:
    records, files = sorted(RESULTS.rglob("record.json")), sorted(RESULTS.rglob("scores.json"))
    assert len(records) >= 40
    assert files
    for path in records:
        record = RunRecord.of(json.loads(path.read_text(encoding="utf-8")))
        Run(tmp_path).write_record(record.document())
        assert (tmp_path / "record.json").read_bytes() == path.read_bytes(), path
    for path in files:
        read = Scores.read(path)
        for scores in (read, Scores.of(read.rows, read.settings, read.versions)):
            assert scores.write(tmp_path / "scores.json").read_bytes() == path.read_bytes(), path


def test_what_other_versions_wrote_is_kept_where_it_stood() -> None:
    document = {
        "mood": "good",
        "id": "1",
        "status": "running",
        "config": {"kind": "distill", "law": 3, "recipe": {"seed": 0, "aug": "flip", "epochs": 2, "tea": None}},
        "about": {"student": {"arch": "resnet8"}, "data": {"name": "digits", "extra": 1, "keys": ["a"]}},
        "last": {"test_loss": None, "train_loss": 2.5},
        "best": None,
        "timing": {"sessions": 2, "lockstep": 4},
    }
    record = RunRecord.of(document)
    assert (record.config.aug, record.config.recipe.extra, record.about.data.extra["extra"]) == (
        "flip",
        {"tea": None},
        1,
    )
    assert record.last is not None
    assert math.isnan(record.last.test_loss)
    assert json.dumps(record.document()).replace("NaN", "null") == json.dumps(document)
    assert record.timing is not None
    later = replace(record, status="finished", kept="none", timing=replace(record.timing, seconds=1.5))
    changed = {**document, "status": "finished", "timing": {"sessions": 2, "lockstep": 4, "seconds": 1.5}}
    assert json.dumps(later.document()).replace("NaN", "null") == json.dumps({**changed, "kept": "none"})
    assert record.seconds is math.nan or math.isnan(record.seconds)


def test_a_new_document_leaves_out_only_what_is_said_to_be_left_out() -> None:
    assert Timing(started="now", sessions=1, seconds=0.5).document() == {
        "started": "now",
        "sessions": 1,
        "seconds": 0.5,
    }
    assert Measures.of({}).document() == {}
    row = ScoreRow.of({"aug": "flip", "metrics": {"m": {"value": None, "se": 0.1, "direction": "open"}}})
    assert math.isnan(row.metrics["m"].value)
    assert list(row.metrics["m"].document()) == ["value", "se", "direction"]
