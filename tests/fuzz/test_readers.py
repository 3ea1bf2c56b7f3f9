"""Whatever is in a file or a specification, what is raised is an error of the package's own."""

from __future__ import annotations

import copy
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from hypothesis import strategies as st
from PIL import Image

from dametric.augment import AUGS, ImageSpec, parse
from dametric.data import load_data
from dametric.errors import UsageError
from dametric.models import build, load_checkpoint, save_checkpoint
from dametric.records.runs import Run, load_runs, read_record
from dametric.records.scores import Scores
from dametric.sweeps.grid import read_grid

DEMO = Path(__file__).resolve().parents[2] / "experiments" / "results" / "digits" / "demo"
Fuzz = Callable[[st.SearchStrategy[Any], Callable[[Any], object]], None]

_leaf = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["", "0", "1e9", "nan", "inf", "-1", "../x", "a:b", "a+b", "=1", "\x1b[2J", "\ud800", 2**64, -1, 1e308]
    )
)
_value = st.recursive(
    _leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


def changed(document: Any) -> st.SearchStrategy[Any]:
    """A document with one to three of its values replaced, taken away, or put in twice."""
    places = list(_places(document))

    def apply(edits: list[tuple[tuple[Any, ...], str, Any]]) -> Any:
        made = copy.deepcopy(document)
        for place, how, value in edits:
            inner = made
            try:
                for key in place[:-1]:
                    inner = inner[key]
                if how == "drop":
                    del inner[place[-1]]
                elif how == "twice" and isinstance(inner, list):
                    inner.insert(place[-1], copy.deepcopy(inner[place[-1]]))
                else:
                    inner[place[-1]] = value
            except (KeyError, IndexError, TypeError):
                continue  # an edit before this one took it away
        return made

    edit = st.tuples(st.sampled_from(places), st.sampled_from(["set", "set", "set", "drop", "twice"]), _value)
    return st.lists(edit, min_size=1, max_size=3).map(apply)


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if at:
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _places(inner, (*at, key))


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """Bytes of a file of which some are others, or which ends early, or begins with something else."""
    cut = st.integers(0, len(content)).map(lambda end: content[:end])
    flips = st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), min_size=1, max_size=8)

    def flipped(changes: list[tuple[int, int]]) -> bytes:
        made = bytearray(content)
        for place, byte in changes:
            made[place] = byte
        return bytes(made)

    return cut | flips.map(flipped) | flips.map(flipped) | st.binary(max_size=64).map(lambda head: head + content)


# Specifications


def test_specifications(fuzz: Fuzz) -> None:
    """Those with a path would run code; all others are parsed."""
    word = st.sampled_from([*AUGS, "paper", "cutmixpick", "nothing", ""])
    number = st.one_of(st.floats(), st.integers(-5, 300)).map(str) | st.sampled_from(
        ["", "x", "1e400", "teacher_entropy", "٣", "9" * 5000]
    )
    keys = st.sampled_from(["p", "alpha", "length", "n", "m", "by", "padding", "runs", "", "x"])
    pair = st.tuples(keys, number).map("=".join)
    part = st.tuples(word, st.lists(pair, max_size=3).map(",".join)).map(lambda both: ":".join(filter(None, both)))
    made = st.lists(part, min_size=1, max_size=3).map("+".join)
    free = st.text(alphabet="abcutmixflp+:=.,0123456789-_ \n\x00é", max_size=30)

    def check(spec: str) -> None:
        with suppress(UsageError):
            aug = parse(spec, ImageSpec(8))
            assert parse(aug.canonical, ImageSpec(8)).canonical == aug.canonical

    fuzz(made | free, check)


# Grids

GRID = {
    "about": "x",
    "data": [{"source": "digits", "image_size": 8}, {"source": "digits", "name": "all", "train_images": 50}],
    "teachers": {
        "resnet8": {"epochs": [1, 2], "schedule": "onecycle"},
        "big": {"checkpoint": "big.pth", "mean": [0.5]},
    },
    "pairs": ["resnet8 -> resnet8", {"teacher": "big", "student": ["resnet8", "wrn_16_1"]}],
    "augmentations": ["paper", "mixup:alpha=0.2", {"cutmix": {"alpha": [0.5, 2]}}],
    "seeds": "0-2",
    "training": {"epochs": [1, 2], "lr": 0.1},
    "eval_every": "last",
    "keep": "none",
    "exclude": [{"student": "wrn_16_1", "aug": ["flip", "mixup*"]}],
    "include": [{"teacher": "big", "student": "resnet8", "aug": "identity", "epochs": 5}],
    "score": {"rel_se": 0.01, "student": "identity"},
}


def test_grids(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    whole = yaml.safe_dump(GRID)

    def check(text: str | bytes) -> None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode(errors="replace"))
        with suppress(UsageError):
            assert read_grid(str(path)).rows

    path.write_text(whole)
    assert read_grid(str(path)).rows
    fuzz(changed(GRID).map(lambda grid: yaml.safe_dump(grid)) | damaged(whole.encode()), check)


# Scores and records


def test_score_files(fuzz: Fuzz, tmp_path: Path) -> None:
    path, document = tmp_path / "scores.json", json.loads((DEMO / "scores.json").read_text(encoding="utf-8"))
    document["scores"] = document["scores"][:3]

    def check(text: str | bytes) -> None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode(errors="replace"))
        with suppress(UsageError):
            scores = Scores.read(path)
            assert len(scores.table) == len(scores.scores)
            assert scores.batches
            scores.to_json()

    fuzz(changed(document).map(json.dumps) | damaged(json.dumps(document).encode()), check)


def test_records(fuzz: Fuzz, tmp_path: Path) -> None:
    folder = next((DEMO / "runs").glob("*-cutmix-s0-*"))
    path, document = tmp_path / "record.json", json.loads((folder / "record.json").read_text(encoding="utf-8"))

    def check(text: str | bytes) -> None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode(errors="replace"))
        with suppress(UsageError):
            read_record(path)
            assert len(load_runs(tmp_path)) == 1

    fuzz(changed(document).map(json.dumps) | damaged(json.dumps(document).encode()), check)


def test_histories(fuzz: Fuzz, tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write_history([{"epoch": k, "step": 10 * k, "test_top1": k / 10, "seconds": 1.5} for k in (1, 2, 3)])
    path = tmp_path / "history.csv"

    def check(content: bytes) -> None:
        path.write_bytes(content)
        with suppress(UsageError):
            run.history()

    fuzz(damaged(path.read_bytes()), check)


# Checkpoints


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The smallest network's weights: in a zip as torch writes them today, and as it did before."""
    folder = tmp_path_factory.mktemp("checkpoints")
    model = torch.nn.Linear(3, 2)
    save_checkpoint(folder / "zip.pth", build("resnet8", 2, 8), arch="resnet8", classes=["a", "b"], image_size=8)
    torch.save({"model": model.state_dict(), "epoch": 3}, folder / "old.pth", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": model.state_dict(), "classes": ["a", "b"]}, folder / "small.pth")
    return [(folder / name).read_bytes() for name in ("zip.pth", "old.pth", "small.pth")]


def test_checkpoints(fuzz: Fuzz, checkpoints: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "fuzzed.pth"

    def check(content: bytes) -> None:
        path.write_bytes(content)
        with suppress(UsageError):
            load_checkpoint(path)

    fuzz(st.sampled_from(checkpoints).flatmap(damaged), check)


def test_what_checkpoints_say_beside_their_weights(fuzz: Fuzz, tmp_path: Path) -> None:
    path, weights = tmp_path / "fuzzed.pth", build("resnet8", 2, 8).state_dict()
    about = {
        "arch": "resnet8",
        "classes": ["a", "b"],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.2, 0.2, 0.2],
        "data": "digits",
        "image_size": 8,
        "dametric": 1,
        "epoch": 3,
    }

    def check(rest: dict[str, Any]) -> None:
        torch.save({**rest, "model": weights}, path)
        with suppress(UsageError):
            load_checkpoint(path)

    fuzz(changed(about), check)


# Image sets


def _parquet() -> bytes:
    files = []
    for shade in (0, 100, 200, 50):
        file = io.BytesIO()
        Image.fromarray(np.full((6, 6, 3), shade, np.uint8)).save(file, "PNG")
        files.append({"bytes": file.getvalue(), "path": None})
    out = io.BytesIO()
    pq.write_table(pa.table({"image": files, "label": [0, 1, 0, 1]}), out)
    return out.getvalue()


def _npz() -> bytes:
    out = io.BytesIO()
    images, labels = np.zeros((4, 6, 6, 3), np.uint8), np.array([0, 1, 0, 1])
    np.savez(out, x_train=images, y_train=labels, x_test=images, y_test=labels)
    return out.getvalue()


def _png() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.arange(108, dtype=np.uint8).reshape(6, 6, 3)).save(out, "PNG")
    return out.getvalue()


def test_image_sets(fuzz: Fuzz, tmp_path: Path) -> None:
    (tmp_path / "parquet" / "data").mkdir(parents=True)
    for name in "ab":
        (tmp_path / "folder" / "train" / name).mkdir(parents=True)
        (tmp_path / "folder" / "train" / name / "1.png").write_bytes(_png())
    shard = tmp_path / "parquet" / "data" / "train-00000-of-00001.parquet"
    image = tmp_path / "folder" / "train" / "a" / "0.png"
    kinds = {
        "parquet": (_parquet(), shard, tmp_path / "parquet"),
        "npz": (_npz(), tmp_path / "set.npz", tmp_path / "set.npz"),
        "folder": (_png(), image, tmp_path / "folder"),
    }
    examples = st.sampled_from(sorted(kinds)).flatmap(lambda kind: st.tuples(st.just(kind), damaged(kinds[kind][0])))
    number = iter(range(10**9))

    def check(example: tuple[str, bytes]) -> None:
        kind, content = example
        _, file, root = kinds[kind]
        file.write_bytes(content)
        with suppress(UsageError):
            assert len(load_data(str(root), "train", quiet=True, cache_dir=str(tmp_path / "cache" / str(next(number)))))

    for kind, (content, file, root) in kinds.items():
        file.write_bytes(content)
        assert len(load_data(str(root), "train", quiet=True, cache_dir=str(tmp_path / "cache" / kind))) >= 3
    fuzz(examples, check)
    assert zipfile.is_zipfile(io.BytesIO(_npz()))
