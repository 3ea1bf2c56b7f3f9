"""Scores and students from elsewhere: one table is enough."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import stats as scipy_stats

import dametric
from dametric.analysis import Analysis
from dametric.analysis.foreign_table import BY_ERROR_RATE, MOST_BYTES, read_table
from dametric.base.arguments import speaking
from dametric.cli.correlation import print_all, print_answer
from dametric.errors import UsageError
from dametric.metrics import METRICS

AUGS = ["identity", "cutout", "autoaugment", "mixup", "cutmix", "snow"]
LOSSES = [1.0, 0.9, 0.7, 0.8, 0.6, 0.5]
SCORES = [0.6, 0.5, 0.4, 0.3, 0.2, 0.1]


def rows(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"augmentation": AUGS, "my_score": SCORES, **columns})


def written(path: Path, table: pd.DataFrame) -> str:
    if path.suffix == ".json":
        path.write_text(json.dumps(json.loads(table.to_json(orient="records"))), encoding="utf-8")
    else:
        table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return str(path)


def analysed(*paths: str, **options: Any) -> tuple[Analysis, str]:
    """As the command line has it: an analysis, and what it prints on stderr."""
    with speaking("command line"):
        analysis = dametric.correlate(paths, **options)
    return analysis, "\n".join(analysis.notes)


def test_a_table_is_judged_whatever_it_is_written_in(tmp_path: Path) -> None:
    table = rows(test_loss=LOSSES, t_entropy=SCORES[::-1], unit="a -> b", note="by hand", seeds=3)
    wanted = scipy_stats.kendalltau(SCORES, LOSSES, method="exact", alternative="greater")
    documents = []
    for ending in (".csv", ".tsv", ".json"):
        path = written(tmp_path / f"table{ending}", table)
        found, said = analysed(path, better=["my_score=lower"])
        entry = found.confirmatory[0]
        assert entry.metric == "my_score"
        assert entry.result.statistic == pytest.approx(wanted.statistic)
        assert entry.result.pvalue == pytest.approx(wanted.pvalue)
        assert found.metrics == {"my_score": "lower", "t_entropy": METRICS["t_entropy"].direction}
        assert "no numbers in note, left out" in said
        documents.append(found.to_dict())
    documents.append(dametric.correlate(table, better="my_score=lower").to_dict())
    assert documents[0] == documents[1] == documents[2] == documents[3]


def test_accuracy_alone_is_enough_and_said(tmp_path: Path) -> None:
    percent = [100 * (1 - loss / 2) for loss in LOSSES]
    path = written(tmp_path / "t.csv", rows(accuracy=percent, accuracy_se=0.5, my_score_se=0.01))
    found, said = analysed(path)
    assert "taken as percent" in said
    assert "--better my_score=lower" in said
    assert found.verdict[0] == BY_ERROR_RATE
    frame = read_table(pd.read_csv(path), path, ["my_score=lower"]).frame
    assert frame["test_loss"].tolist() == pytest.approx([50 * loss for loss in LOSSES])
    assert frame["test_loss_se"].tolist() == pytest.approx([0.5] * 6)
    assert found.units["all"]["my_score"].coefficients.loss.kendall.statistic == pytest.approx(
        scipy_stats.kendalltau(SCORES, LOSSES).statistic
    )
    assert found.units["all"]["my_score"].noise.disattenuated is not None


def test_of_accuracies_error_rates_are_spoken_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In words, tables, figures; with the costs that they have: the best score is of the third best student."""
    losses = [1.0, 0.9, 0.5, 0.8, 0.6, 0.7]
    accuracies = pd.DataFrame({"accuracy": [1 - loss / 2 for loss in losses], "other": SCORES[::-1]})
    table = rows(**{name: accuracies[name] for name in accuracies})
    two = pd.concat([table.assign(unit="a"), table.assign(unit="b")])
    options: dict[str, Any] = {"better": ["my_score=lower"]}
    for name, given, cost in (("one", table, "10.0000 points"), ("two", two, "10.0000 points on average")):
        path = written(tmp_path / f"{name}.csv", given)
        found, _ = analysed(path, **options)
        assert cost in found.cost
        assert found.to_dict()["settings"]["outcome"] == "error rate"
        capsys.readouterr()
        print_answer(found)
        print_all(found)
        built = dametric.report(found, quiet=True)
        said = capsys.readouterr().out + built.markdown() + built.html()
        for old in ("test loss (", "Test loss", "Lowest test", "nats", "and test loss", "and the test loss"):
            assert old not in said, said[said.index(old) - 100 : said.index(old) + 100]
        assert said.lower().replace("no test losses", "").count("test loss") == 0
        assert "Cost (points)" in said
        axes = [panel.draw(Figure().subplots()) for chart in built.charts for panel in chart.panels]
        labels = " ".join(f"{one.get_xlabel()} {one.get_ylabel()} {one.get_title('left')}" for one in axes)
        assert "student's error rate (points)" in labels
        assert "loss" not in labels


def test_rows_without_a_number_are_dropped_when_asked(tmp_path: Path) -> None:
    table = rows(test_loss=LOSSES)
    table.loc[2, "test_loss"] = float("nan")
    path = written(tmp_path / "t.csv", table)
    with pytest.raises(UsageError, match=r"1 of 6 rows have no score or no test loss .*autoaugment.*--drop"):
        analysed(path)
    found, said = analysed(path, drop=True)
    assert "dropped: 1 of 6 rows" in said
    assert found.units["all"]["my_score"].augs == tuple(name for name in AUGS if name != "autoaugment")


def test_a_report_of_a_table(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", rows(accuracy=[1 - loss / 2 for loss in LOSSES]))
    page = tmp_path / "page.md"
    with speaking("command line"):
        dametric.report([path], page, better=["my_score=lower"], quiet=True)
    text = page.read_text(encoding="utf-8")
    assert "Use snow: of 6 augmentations it has the best my\\_score" in text
    assert "error rate" in text
    assert "SHA-256" in text
    assert "--better my" in text


def test_what_is_no_such_table(tmp_path: Path) -> None:
    good = rows(test_loss=LOSSES)
    wrong: list[tuple[str, pd.DataFrame | str, str]] = [
        ("a.csv", good.drop(columns="augmentation"), "lacks augmentation"),
        ("b.csv", good.drop(columns="test_loss"), "lacks test_loss and accuracy"),
        ("c.csv", good.drop(columns="my_score"), "has no metric"),
        ("d.csv", good.assign(test_loss="much"), "'much' in column test_loss"),
        ("e.csv", good.assign(accuracy=-3.0), "neither fractions nor percent"),
        ("f.csv", pd.concat([good, good]), "twice"),
        ("g.csv", good[:0], "no rows"),
        ("h.json", "[1, 2]", "a list of objects"),
        ("i.json", "[{", "no table"),
        ("j.csv", '"a', "no table"),
        ("k.csv", good.assign(aug=AUGS), "two columns for aug"),
        ("l.json", "[" * 100_000, "no table"),
    ]
    for name, table, words in wrong:
        path = tmp_path / name
        if isinstance(table, str):
            path.write_text(table, encoding="utf-8")
        else:
            table.to_csv(path, index=False)
        with pytest.raises(UsageError, match=words) as error:
            analysed(str(path))
        assert "\n" not in str(error.value)
    path = tmp_path / "big.csv"
    with open(path, "wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(UsageError, match="larger than 64 MB"):
        analysed(str(path))
    path = Path(written(tmp_path / "good.csv", good))
    for options, words in (
        ({"only": ["temperature=4"]}, "--only"),
        ({"better": ["score=lower"]}, "my_score"),
        ({"better": ["my_score=up"]}, "direction"),
        ({"better": ["lower"]}, "METRIC=lower"),
    ):
        with pytest.raises(UsageError, match=words):
            analysed(str(path), **options)
    with pytest.raises(UsageError, match="everything in it"):
        analysed(str(path), str(tmp_path))


def test_rows_that_do_not_fit_the_header_are_not_read_as_others(tmp_path: Path) -> None:
    """Surplus cells shift the columns; what is in another encoding, notation or unit is said with the way out."""
    head = "augmentation,t_stddev,test_loss"
    wrong: list[tuple[str, bytes, str]] = [
        ("comma", f"{head}\ncutmix,0,0034,1,7\nflip,0,0040,1,9\n".encode(), r"row 2 has 5 cells, the header 3: quote"),
        ("spec", f"{head}\nflip,.004,1.9\nrandaugment:n=2,m=9,.0036,1.72\n".encode(), r"row 3 has 4 cells"),
        ("short", f"{head},accuracy\nflip,1.9,0.4\n".encode(), r"row 2 has 3 cells, the header 4"),
        ("semicolon", f"{head}\nflip;0,004;1,9\n".replace(",", ";", 2).encode(), "separated by semicolons"),
        ("tabs", f"{head}\nflip,.004,1.9\n".replace(",", "\t").encode(), "separated by tabs"),
        ("quoted", f'{head}\nflip,"0,004","1,9"\n'.encode(), "'0,004' in column t_stddev: write numbers with"),
        ("capital", f"{head}\nflip,.004,1.9\n".replace("aug", "Aug").encode(), "columns Augmentation, t_stddev, test_"),
        ("utf16", f"{head}\nflip,.004,1.9\n".encode("utf-16"), "not UTF-8: save it"),
        ("utf16le", f"{head}\nflip,.004,1.9\n".encode("utf-16-le"), "not UTF-8: save it"),
        ("latin", f"{head},größe\nflip,.004,1.9,1\n".encode("latin-1"), "not UTF-8: save it"),
        ("empty", b"\n\n", "it is empty"),
        ("unit", b"augmentation,t_stddev,accuracy\na,.1,.5\nb,.2,47\nc,.3,0\n", "accuracies of 0.5 and 47: write all"),
    ]
    for name, content, words in wrong:
        path = tmp_path / f"{name}.csv"
        path.write_bytes(content)
        with pytest.raises(UsageError, match=words) as error:
            analysed(str(path))
        assert "\n" not in str(error.value)


def test_what_is_no_matter_in_a_table(tmp_path: Path) -> None:
    """Commas at the end of lines, empty lines, a mark at the beginning, and names that pandas takes for missing."""
    augs = ["none", "null", "NA", "nan", "cutmix", "snow"]
    lines = [f"{aug},{score},{loss}" for aug, score, loss in zip(augs, SCORES, LOSSES, strict=True)]
    plain = "\n".join(["augmentation,my_score,test_loss", *lines])
    wanted = dametric.correlate(rows(test_loss=LOSSES).assign(augmentation=augs), better="my_score=lower").to_dict()
    texts = {"plain.csv": plain, "trailing.csv": plain.replace("\n", ",\n\n") + ",,\n", "mark.csv": "\ufeff" + plain}
    table = [{"augmentation": a, "my_score": s, "test_loss": v} for a, s, v in zip(augs, SCORES, LOSSES, strict=True)]
    texts["mark.json"] = "\ufeff" + json.dumps(table)
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        analysis, _ = analysed(str(tmp_path / name), better=["my_score=lower"])
        assert analysis.to_dict() == wanted, name
