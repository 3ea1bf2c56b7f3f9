"""Options of tables, from the command line and from a grid."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dametric.commands.sweep_options import data_options
from dametric.data.request import ImageRequest
from dametric.models import build, save_checkpoint
from dametric.sweep.blocks import named_data


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """Four classes of two kinds in one configuration of two, 32 x 32."""
    names = {"fine_label": ["ant", "bee", "cow", "dog"], "coarse_label": ["insect", "mammal"]}
    for config, split, count in (("pets", "train", 16), ("pets", "test", 8), ("zoo", "train", 8)):
        rng, images = np.random.default_rng(count), []
        for _ in range(count):
            out = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(out, "PNG")
            images.append(out.getvalue())
        fine = np.arange(count) % 4
        table = pa.table({"picture": images, "fine_label": fine, "coarse_label": fine // 2})
        features = {label: {"names": known, "_type": "ClassLabel"} for label, known in names.items()}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        (tmp_path / "animals" / config).mkdir(parents=True, exist_ok=True)
        pq.write_table(table, tmp_path / "animals" / config / f"{split}.parquet")
    return tmp_path / "animals"


def test_a_teacher_of_coarse_labels_is_asked(
    animals: Path, tmp_path: Path, run: Callable[..., Any], refused: Callable[..., str]
) -> None:
    model = build("resnet8", 2, 32)
    teacher = save_checkpoint(
        tmp_path / "teacher.pth", model, arch="resnet8", image_size=32, classes=("insect", "mammal")
    )
    given = ("--data", animals, "--data-config", "pets", "--image-column", "picture", "-q")
    score = ("score", "-t", teacher, "-a", "identity", "--batches", 4, "--batch-size", 4, "--dtype", "float32")
    said = run(*score, *given, "--label-column", "coarse_label", "--json")
    assert len(said.document["scores"]) == 1, said.err
    assert "the teacher has 2 classes" in (line := refused(*score, *given))
    assert "--label-column" in line


def test_every_command_that_reads_images_takes_them(animals: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    made = tmp_path / "made.png"
    teacher = save_checkpoint(tmp_path / "teacher.pth", build("resnet8", 4, 32), arch="resnet8", image_size=32)
    for command in (
        ("train", "--arch", "resnet8", "-o", made),
        ("distill", "-t", teacher, "-s", "resnet8", "-a", "identity", "-o", tmp_path / "runs"),
        ("score", "-t", teacher, "-a", "identity"),
        ("show", "-a", "identity", "-o", made),
    ):
        given = (*command, "--data", animals)
        assert "several configurations, pets, zoo: choose one with --data-config pets" in refused(*given)
        given = (*given, "--data-config", "pets")
        assert "has no column img or image" in refused(*given)
        given = (*given, "--image-column", "picture")
        assert "has no column breed" in refused(*given, "--label-column", "breed")


def test_a_grid_has_them_too(animals: Path) -> None:
    columns = {"label_column": ["fine_label", "coarse_label"], "image_column": "picture", "config": "pets"}
    sets = named_data({"source": str(animals), **columns})
    assert len(sets) == 2
    for options, label in zip(sets.values(), columns["label_column"], strict=True):
        wanted = ImageRequest(
            source=str(animals), quiet=True, label_column=label, image_column="picture", config="pets"
        )
        assert data_options(options) == wanted
        assert wanted.load("train").num_classes == (4 if label == "fine_label" else 2)
