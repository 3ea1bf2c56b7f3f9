"""Image folders, Tiny ImageNet's layout, and the sizes and damages found in them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dametric.data import load_data
from dametric.errors import UsageError
from tests.loops import each


def plain(paths: list[Path]) -> torch.Tensor:
    return torch.stack([torch.from_numpy(np.array(Image.open(p).convert("RGB")).transpose(2, 0, 1)) for p in paths])


def test_both_splits_equal_a_plain_reading(folder: Path) -> None:
    for split, where in (("train", "train"), ("test", "val")):
        data = load_data(str(folder), split, quiet=True)
        paths = sorted((folder / where).glob("*/*.png"))
        assert torch.equal(data.images, plain(paths))
        assert data.labels.tolist() == [["ant", "bee"].index(p.parent.name) for p in paths]
        assert (data.classes, data.name, data.split, data.notes) == (("ant", "bee"), str(folder), split, ())


def test_statistics_of_the_evaluation_split_are_those_of_training(folder: Path) -> None:
    train, test = (load_data(folder, split, quiet=True) for split in ("train", "test"))
    scaled = train.images.double() / 255
    assert train.mean == pytest.approx(scaled.mean((0, 2, 3)).tolist(), rel=1e-12)
    assert train.std == pytest.approx(scaled.std((0, 2, 3), unbiased=False).tolist(), rel=1e-12)
    assert (test.mean, test.std) == (train.mean, train.std)


@pytest.mark.parametrize("name", ["test", "valid", "validation", "Test"])
def test_names_of_the_evaluation_folder(folder: Path, name: str) -> None:
    (folder / "val").rename(folder / name)
    assert len(load_data(folder, "test", quiet=True)) == 4


def test_where_test_and_val_both_have_labels_a_note_says_which_is_read(folder: Path) -> None:
    shutil.copytree(folder / "val", folder / "test")
    (folder / "test" / "bee" / "1.png").unlink()
    data = load_data(folder, "test", quiet=True)
    assert len(data) == 3
    assert "test/, not val/" in data.notes[0]


def test_a_test_folder_without_classes_gives_way_to_val(folder: Path) -> None:
    (folder / "test").mkdir()
    shutil.copy(folder / "val" / "ant" / "0.png", folder / "test" / "0.png")
    assert len(load_data(folder, "test", quiet=True)) == 4


def test_nested_files_count_and_hidden_and_other_files_do_not(folder: Path, picture) -> None:  # type: ignore[no-untyped-def]
    deep = folder / "train" / "bee" / "more" / "deep"
    deep.mkdir(parents=True)
    picture(7).save(deep / "x.BMP")
    (deep / "readme.txt").write_text("no image")
    (folder / "train" / "bee" / "._0.png").write_text("left behind by an archive")
    (folder / "train" / ".cache").mkdir()
    data = load_data(folder, quiet=True)
    assert len(data) == 11
    assert data.labels.sum() == 6


def test_class_folders_alone_are_a_training_split(folder: Path) -> None:
    data = load_data(folder / "train", quiet=True)
    assert torch.equal(data.images, load_data(folder, quiet=True).images)
    with pytest.raises(UsageError, match="no evaluation split"):
        load_data(folder / "train", "test", quiet=True)


def test_an_evaluation_split_alone_says_whose_statistics_it_uses(folder: Path) -> None:
    shutil.rmtree(folder / "train")
    data = load_data(folder, "test", quiet=True)
    assert data.classes == ("ant", "bee")
    assert "no training split" in data.notes[0]
    with pytest.raises(UsageError, match="no train folder"):
        load_data(folder, quiet=True)


def test_a_class_may_be_missing_in_evaluation_but_not_be_new(folder: Path) -> None:
    shutil.rmtree(folder / "val" / "ant")
    data = load_data(folder, "test", quiet=True)
    assert (data.classes, data.labels.tolist()) == (("ant", "bee"), [1, 1])
    (folder / "val" / "bee").rename(folder / "val" / "cat")
    with pytest.raises(UsageError, match="class 'cat', which the training split does not have"):
        load_data(folder, "test", quiet=True)


def test_differing_sizes_need_a_size(folder: Path, picture) -> None:  # type: ignore[no-untyped-def]
    picture(3, 12, 10).save(folder / "train" / "bee" / "9.png")
    with pytest.raises(UsageError, match=r"ant.0\.png: 8x8, .*9\.png: 10x12\).*image_size=8"):
        load_data(folder, quiet=True)
    data = load_data(folder, image_size=6, quiet=True)
    assert data.images.shape == (11, 3, 6, 6)


@each(("sizes", "usual"), [(((500, 375), (640, 480)), 224), (((120, 150), (100, 130)), 96), (((40, 30), (36, 34)), 30)])
def test_the_size_to_bring_photos_to_is_a_usual_one(
    tmp_path: Path,
    picture,  # type: ignore[no-untyped-def]
    sizes: tuple[tuple[int, int], ...],
    usual: int,
) -> None:
    folder = tmp_path / str(usual) / "a"
    folder.mkdir(parents=True)
    for number, (width, height) in enumerate(sizes):
        picture(number, width, height).save(folder / f"{number}.png")
    with pytest.raises(UsageError, match=f"that of the teacher's training or as in image_size={usual}$"):
        load_data(folder.parent, quiet=True)


def test_images_need_not_be_square(tmp_path: Path, picture) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a").mkdir()
    picture(0, 6, 9).save(tmp_path / "a" / "0.png")
    data = load_data(tmp_path, quiet=True)
    assert data.images.shape == (1, 3, 6, 9)
    assert data.image_size == 6


def test_a_damaged_image_is_named(folder: Path) -> None:
    broken = folder / "train" / "bee" / "3.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(UsageError, match=r"cannot decode .*bee.3\.png"):
        load_data(folder, quiet=True)


@pytest.mark.parametrize("empty", ["train", "train/cow"])
def test_empty_folders_are_told(folder: Path, empty: str) -> None:
    if empty == "train":
        shutil.rmtree(folder / "train")
    (folder / empty).mkdir()
    with pytest.raises(UsageError, match="holds no"):
        load_data(folder, quiet=True)


@pytest.fixture
def tiny(tmp_path: Path, picture) -> Path:  # type: ignore[no-untyped-def]
    """Three classes of Tiny ImageNet's layout, with images of noise."""
    root = tmp_path / "tiny-imagenet-200"
    wnids = ["n02", "n01", "n03"]  # the list is not sorted; labels are
    for label, wnid in enumerate(wnids):
        (root / "train" / wnid / "images").mkdir(parents=True)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("0 0 1 1\n")
        for i in range(3):
            picture(10 * label + i).save(root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", "JPEG")
    (root / "wnids.txt").write_text("\n".join(wnids))
    (root / "val" / "images").mkdir(parents=True)
    (root / "test" / "images").mkdir(parents=True)
    picture(99).save(root / "test" / "images" / "test_0.JPEG", "JPEG")
    lines = []
    for i, wnid in enumerate(["n03", "n01", "n03", "n02"]):
        picture(50 + i).save(root / "val" / "images" / f"val_{i}.JPEG", "JPEG")
        lines.append(f"val_{i}.JPEG\t{wnid}\t0\t0\t5\t5\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    return root


def test_tiny_imagenet_by_name_and_by_path(tiny: Path) -> None:
    for source, root in (("tinyimagenet", tiny), ("tinyimagenet", tiny.parent), (str(tiny), None)):
        train = load_data(source, root=root, quiet=True)
        assert train.classes == ("n01", "n02", "n03")
        assert train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        test = load_data(source, "test", root=root, quiet=True)
        assert test.labels.tolist() == [2, 0, 2, 1]
        assert torch.equal(test.images, plain([tiny / "val" / "images" / f"val_{i}.JPEG" for i in range(4)]))
        assert test.mean == train.mean
        assert test.name == source


def test_tiny_imagenet_tells_what_is_missing(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"tinyimagenet is not in .*root="):
        load_data("tinyimagenet", root=tmp_path / "elsewhere")
    table = tiny / "val" / "val_annotations.txt"
    table.write_text(table.read_text().replace("n02", "n77"))
    with pytest.raises(UsageError, match=r"val_3.JPEG the class 'n77'"):
        load_data(tiny, "test")
    table.write_text("val_9.JPEG\tn01\n")
    with pytest.raises(UsageError, match=r"val_9\.JPEG"):
        load_data(tiny, "test")
    table.write_text("val_9.JPEG n01\n")
    with pytest.raises(UsageError, match="separated by tabs"):
        load_data(tiny, "test")


def test_a_folder_of_images_alone_has_no_labels(folder: Path, tmp_path: Path) -> None:
    """One folder of images, or one a split; names of files stay relative to the folder."""
    flat = tmp_path / "flat"
    for split, source in (("train", "train"), ("test", "val")):
        (flat / split).mkdir(parents=True)
        for number, path in enumerate(sorted((folder / source).glob("*/*.png"))):
            shutil.copy(path, flat / split / f"{number}.png")
    for where, split, own in ((flat / "train", "train", "train"), (flat, "train", "train"), (flat, "test", "test")):
        data = load_data(where, split, quiet=True)
        assert torch.equal(data.images, plain(sorted((flat / own).glob("*.png"))))
        assert (data.classes, data.num_classes, data.labels.unique().tolist()) == ((), 0, [0])
        assert data.notes == (f"{flat / own} has no class folders: its images have no labels",)
    with pytest.raises(UsageError, match="no evaluation split"):
        load_data(flat / "train", "test", quiet=True)
    shutil.rmtree(flat / "test")
    shutil.copytree(folder / "val", flat / "val")
    with pytest.raises(UsageError, match="labels are in both, or in neither"):
        load_data(flat, "test", quiet=True)
