"""Does distillation help? `python -m experiments.distillation_helps`.

A teacher is trained on the bundled digits; students of a smaller architecture are trained from labels alone, and
distilled from the teacher with crop+flip and with cutmix, five seeds each, otherwise alike. Paired by seed, since
equal seeds mean equal initial weights and the same order of images.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from typing import Annotated, Any

import typer

import dametric
from dametric.base.files import write_atomic
from dametric.training import Trained

SETTING = {"schedule": "onecycle", "lr": 0.1, "dtype": "float32"}


def difference(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Mean of paired differences, its standard error, and their ratio."""
    gaps = [a - b for a, b in zip(ours, theirs, strict=True)]
    mean, se = statistics.mean(gaps), statistics.stdev(gaps) / math.sqrt(len(gaps))
    return {"mean": mean, "se": se, "z": mean / se}


def main(
    out: Annotated[str, typer.Option(help="The ledger's folder.")] = "runs/distillation_helps",
    teacher: Annotated[str, typer.Option(help="Architecture of the teacher.")] = "resnet20",
    student: Annotated[str, typer.Option(help="Architecture of the students.")] = "resnet8",
    teacher_epochs: int = 30,
    epochs: Annotated[int, typer.Option(help="Of every student.")] = 6,
    seeds: int = 5,
    image_size: int = 16,
    output: Annotated[str | None, typer.Option("--output", "-o", help="Write the numbers as JSON.")] = None,
) -> None:
    """Train, distil, compare."""
    data = tuple(dametric.load_data("digits", split, image_size=image_size) for split in ("train", "test"))
    taught = dametric.train(teacher, data, out=out, epochs=teacher_epochs, **SETTING)
    print(f"teacher {teacher}: {100 * taught.record['last']['test_top1']:.2f} % top-1")

    def run(way: str, seed: int) -> Trained:
        if way == "labels":
            return dametric.train(student, data, out=out, epochs=epochs, seed=seed, **SETTING)
        return dametric.distill(
            taught.folder / "last.pt",
            student,
            data,
            way,
            out=out,
            epochs=epochs,
            seed=seed,
            **SETTING,
        )

    records: dict[str, list[dict[str, Any]]] = {}
    for way in ("labels", "crop+flip", "cutmix"):
        records[way] = [run(way, seed).record for seed in range(seeds)]
    top1, loss = (
        {way: [record["last"][f"test_{name}"] for record in found] for way, found in records.items()}
        for name in ("top1", "loss")
    )
    result: dict[str, Any] = {}
    for way in records:
        result[way] = {"top1": top1[way], "loss": loss[way]}
        line = f"{way:10s} top-1 {100 * statistics.mean(top1[way]):.2f} %, test loss {statistics.mean(loss[way]):.4f}"
        if way != "labels":
            gains = {"top1": difference(top1[way], top1["labels"]), "loss": difference(loss[way], loss["labels"])}
            result[way]["against labels"] = gains
            line += (
                f"; against labels {100 * gains['top1']['mean']:+.2f} ± {100 * gains['top1']['se']:.2f} points "
                f"(z {gains['top1']['z']:+.1f}), loss {gains['loss']['mean']:+.4f} ± {gains['loss']['se']:.4f} "
                f"(z {gains['loss']['z']:+.1f})"
            )
        print(line)
    if output is not None:
        command = " ".join(["python -m experiments.distillation_helps", *sys.argv[1:]])
        first = records["cutmix"][0]
        about = {"command": command, "about": first["about"], "recipe": first["config"]["recipe"]}
        versions = {"code": first["code"], "versions": first["versions"]}
        write_atomic(output, json.dumps({**about, "students": result, **versions}, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
