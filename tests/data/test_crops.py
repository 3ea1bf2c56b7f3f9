"""Images as networks for ImageNet see them: evaluation and random crops are torchvision's own, to the pixel."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import v2

from dametric.augment import Keys, parse
from dametric.augment.base_view import BaseView, versions_of_base
from dametric.augment.geometric import RandomResizedCrop
from dametric.data import ImageSet, load_data
from dametric.data.decode import Resize, decode, fit
from dametric.data.evaluation import Evaluation
from dametric.data.originals import Zoom, working_size
from dametric.errors import UsageError
from dametric.scoring import score
from dametric.training import Recipe
from dametric.training.recipe import LABELS
from dametric.training.trainer import Training, advance_together

SIZES = [(500, 375), (375, 500), (500, 375), (64, 64), (300, 301), (640, 260)]
BASE = parse("rrc+flip")
pytest.importorskip("pyarrow")


def photo(width: int, height: int, seed: int) -> Image.Image:
    """Smooth colours, as photographs have them, with a little noise."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray((smooth + generator.integers(-5, 6, smooth.shape)).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve JPEGs of different sizes in two classes, as a folder and as a Parquet file of the same names."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    root, rows = tmp_path_factory.mktemp("photos"), []
    for label, name in enumerate(("ant", "bee")):
        (root / "folder" / "train" / name).mkdir(parents=True)
        for n, size in enumerate(SIZES):
            file = root / "folder" / "train" / name / f"{n}.jpg"
            photo(*size, seed=10 * label + n).save(file, quality=92)
            rows.append({"image": {"bytes": file.read_bytes(), "path": None}, "label": label})
    (root / "table").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), root / "table" / "train-0.parquet", row_group_size=5)
    return root


@pytest.fixture(params=["folder", "folder, lazy", "table", "table, lazy"])
def images(request: pytest.FixtureRequest, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    kind, _, lazy = request.param.partition(", ")
    cache = tmp_path_factory.getbasetemp() / "cache of photos"
    return load_data(photos / kind, image_size=224, lazy=bool(lazy), cache_dir=cache, quiet=True)


def stored(photos: Path) -> list[Image.Image]:
    return [Image.open(file).convert("RGB") for file in sorted((photos / "folder" / "train").rglob("*.jpg"))]


def pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def difference(first: Tensor, second: Tensor) -> int:
    return int((first.int() - second.int()).abs().max())


def test_evaluation_is_torchvisions_resize_and_crop(images: ImageSet, photos: Path) -> None:
    assert images.evaluation == "Resize(256, bilinear) and CenterCrop(224)"
    assert sum("Resize(256, bilinear) and CenterCrop(224) (usual)" in note for note in images.notes) == 1
    transform = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    (ours,) = images.stream([torch.arange(12)], "cpu")
    for row, image in zip(ours, stored(photos), strict=True):
        assert difference(row, transform(pixels(image))) <= 1
        assert difference(row, pixels(transform(image))) <= 1


def test_bicubic_evaluation_is_torchvisions_too(photos: Path) -> None:
    transform = v2.Compose([v2.Resize(235, v2.InterpolationMode.BICUBIC, antialias=True), v2.CenterCrop(224)])
    for file in sorted((photos / "folder").rglob("*.jpg")):
        ours = torch.from_numpy(decode(file.read_bytes(), str(file), 224, resize=Resize(235, "bicubic")).copy())
        stored = np.asarray(Image.open(file))
        for image, roundings in ((v2.functional.pil_to_tensor(Image.open(file)), 1), (Image.fromarray(stored), 2)):
            theirs = v2.functional.pil_to_tensor(transform(image)) if roundings == 2 else transform(image)
            assert (ours.int() - theirs.int()).abs().max() <= roundings, file  # Pillow rounds between its two passes


def test_random_crops_are_cut_from_the_stored_images(images: ImageSet, photos: Path) -> None:
    view = BaseView.of(BASE, images)
    assert view.data.fingerprint == images.fingerprint
    assert view.data.lazy == images.lazy
    order, keys = torch.tensor([3, 0, 11, 5, 7, 3, 2, 8]), Keys(5, 2, 4, first=7).sub("base")
    (rows,) = view.stream([(order, [keys])], "cpu")
    draws = BASE.draw(keys, torch.Size((8, 3, 224, 224)))
    flipped, files = draws[1]["flip"], stored(photos)
    seen = view(rows, keys).images
    for row, index in enumerate(order.tolist()):
        file = pixels(files[index])
        box = RandomResizedCrop().boxes(draws[0], *file.shape[1:])[row].tolist()
        cut = v2.functional.resized_crop(file, *box, [224, 224], antialias=True)
        assert difference(seen[row], cut.flip(-1) if flipped[row] else cut) <= 1
    # in other batches, with other images beside them, and one by one: the same bits
    halves = [Keys(5, 1, 4, first=first).sub("base") for first in (7, 8)]
    apart = list(view.stream([(half, [own]) for half, own in zip(order.split(4), halves, strict=True)], "cpu"))
    assert torch.equal(torch.cat(apart), rows)
    (together,) = view.stream([(order, halves)], "cpu")
    assert torch.equal(together, rows)


def test_subsets_and_grey_images_are_cut_from_their_own_originals(photos: Path, tmp_path: Path) -> None:
    sets = [load_data(photos / "folder", image_size=112, lazy=lazy, cache_dir=tmp_path, quiet=True) for lazy in (0, 1)]
    rows, keys = torch.tensor([2, 0, 1]), Keys(0, 1, 3).sub("base")
    views = [BaseView.of(BASE, images.subset([5, 1, 9]).grey()) for images in sets]
    held, lazy = (next(view.stream([(rows, [keys])], "cpu")) for view in views)
    assert held.shape == (3, 1, 112, 112)
    assert torch.equal(held, lazy)
    assert not views[0].data.lazy


def test_images_of_the_sets_own_size_stay_one_tensor(tmp_path: Path) -> None:
    for n, name in enumerate(("ant", "bee")):
        (tmp_path / "train" / name).mkdir(parents=True)
        photo(64, 64, n).save(tmp_path / "train" / name / "0.png")
    images = load_data(tmp_path, image_size=64, cache_dir=tmp_path / "cache", quiet=True)
    view = BaseView.of(BASE, images)
    assert view.data is images
    assert images.evaluation is None
    assert images.decoder is None
    keys = Keys(0, 1, 2).sub("base")
    (rows,) = view.stream([(torch.arange(2), [keys])], "cpu")
    assert torch.equal(view(rows, keys).images, BASE(rows, keys).images)
    crop = parse("crop+flip")
    assert torch.equal(BaseView.of(crop, images)(rows, keys).images, crop(rows, keys).images)


@pytest.mark.parametrize(("size", "resize"), [((3000, 4000), None), ((4000, 900), Resize(256)), ((375, 500), None)])
def test_originals_are_held_so_large_that_no_crop_is_enlarged_more(
    size: tuple[int, int], resize: Resize | None
) -> None:
    zoom = Zoom(0.08, 4 / 3)
    height, width = working_size(size, 224, resize, zoom)
    assert height <= size[0]
    assert abs(height / width / (size[0] / size[1]) - 1) < 0.01
    assert min(height, width) >= min(*size, resize.size if resize else 224)
    smallest = (height * width * zoom.share / zoom.ratio) ** 0.5
    assert (height, width) == size or smallest >= 224
    assert height * width < 1.02 * max(224**2 * zoom.ratio / zoom.share, (256 / 900) ** 2 * 4000 * 900) or (
        (height, width) == size
    )


def test_pngs_go_through_pillow_as_ever_and_jpegs_have_pillows_pixels(photos: Path) -> None:
    for n, image in enumerate(stored(photos)[:4]):
        file = io.BytesIO()
        image.save(file, "PNG")
        theirs = np.asarray(fit(image, 96)).transpose(2, 0, 1)
        assert np.array_equal(decode(file.getvalue(), "a PNG", 96), theirs), n
    for options in ({"quality": 50}, {"progressive": True}, {"subsampling": 0}):
        for mode in ("RGB", "L", "CMYK"):
            file = io.BytesIO()
            photo(83, 61, 1).convert(mode).save(file, "JPEG", **options)
            with Image.open(file) as opened:
                theirs = np.asarray(opened.convert("RGB")).transpose(2, 0, 1)
            assert np.abs(decode(file.getvalue(), "a JPEG").astype(int) - theirs).max() <= 1, (options, mode)


def test_a_network_says_how_it_was_evaluated_and_the_user_knows_better() -> None:
    large, small = [(375, 500)] * 3, [(224, 224), (256, 200)]
    assert Evaluation().resize(224, large) == Resize(256)
    assert Evaluation().resize(224, small) is None
    assert Evaluation().resize(96, large) is None
    assert Evaluation().resize(None, large) is None
    assert Evaluation(share=0.9, interpolation="bicubic").resize(224, large) == Resize(248, "bicubic")
    assert Evaluation(share=224 / 232).resize(224, large) == Resize(232)
    assert Evaluation(64).resize(32, small) == Resize(64)
    assert Evaluation(224).resize(224, large) is None


def test_a_resize_below_the_image_size_is_refused(photos: Path) -> None:
    with pytest.raises(UsageError, match="eval_resize=200 is at least the image size, 224"):
        load_data(photos / "folder", image_size=224, eval_resize=200)
    with pytest.raises(UsageError, match="used with image_size"):
        load_data(photos / "folder", eval_resize=200)


class Pooled(torch.nn.Module):
    """A tiny network for images of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = torch.nn.Conv2d(3, 4, 7, 7), torch.nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.conv(images).relu().mean((2, 3)))


def pooled() -> Pooled:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Pooled()


def test_scores_and_weights_are_the_same_lazily_in_memory_and_in_any_chunks(photos: Path, tmp_path: Path) -> None:
    sets = [load_data(photos / "folder", image_size=112, lazy=lazy, cache_dir=tmp_path, quiet=True) for lazy in (0, 1)]
    options = {"batches": 4, "batch_size": 4, "base_aug": "rrc+flip", "quiet": True, "device": "cpu"}
    tables = [
        score(pooled(), images, ["identity", "rrc"], chunk=chunk, **options).scores
        for images in sets
        for chunk in (4, 8)
    ]
    values = [[row["metrics"]["t_stddev"]["value"] for row in table] for table in tables]
    assert values[0] == values[2]
    assert values[1] == values[3] == pytest.approx(values[0], rel=1e-5)
    other = score(pooled(), sets[0], ["identity", "rrc"], **{**options, "base_aug": "flip"}).scores
    assert [row["metrics"]["t_stddev"]["value"] for row in other] != pytest.approx(values[0], rel=1e-2)
    recipe = Recipe(epochs=2, batch_size=4, base_aug="rrc+flip", aug="identity", objective=LABELS)
    weights = []
    for images in sets:
        training = Training(pooled(), images, recipe, torch.device("cpu"))
        assert training.data.crops_originals
        training.run_epoch()
        training.run_epoch()
        weights.append(training.model.fc.weight.detach())
    again = Training(pooled(), sets[0], recipe, torch.device("cpu"))
    members = [again, Training(pooled(), sets[0], recipe, torch.device("cpu"))]
    for until in (2, 3, 5, 6):  # in lockstep, and stopped within the epochs
        advance_together(members, until)
    weights += [member.model.fc.weight.detach() for member in members]
    assert all(torch.equal(own, weights[0]) for own in weights)


def test_crops_after_flips_and_those_that_sometimes_happen_are_cut_from_the_stored_images(
    images: ImageSet, photos: Path
) -> None:
    order, keys, files = torch.arange(12), Keys(3, 3, 4).sub("base"), stored(photos)
    for spec in ("flip+rrc", "flip+rrc:p=0.5+flip", "rrc:p=0.6", "flip+rrc+cutout"):
        base = parse(spec)
        view = BaseView.of(base, images)
        (rows,) = view.stream([(order, [keys])], "cpu")
        seen, place = view(rows, keys).images, next(n for n, part in enumerate(spec.split("+")) if "rrc" in part)
        draws = base.draw(keys, torch.Size((12, 3, 224, 224)))
        happens = draws[place].get("happens", torch.ones(12, dtype=torch.bool)).tolist()
        assert spec.count("p=") == 0 or len(set(happens)) == 2
        for row, image in enumerate(map(pixels, files)):  # in the order that is written
            for n, draw in enumerate(draws):
                if "flip" in draw:
                    image = image.flip(-1) if draw["flip"][row] else image
                elif n == place and happens[row]:
                    box = RandomResizedCrop().boxes(draw, *image.shape[1:])[row].tolist()
                    image = v2.functional.resized_crop(image, *box, [224, 224], antialias=True)
                elif n == place:
                    image = transforms.CenterCrop(224)(transforms.Resize(256)(image))
                else:
                    part = {name: values[row : row + 1] for name, values in draw.items()}
                    image = base.operations[n].apply(image[None], part).images[0]
            assert difference(seen[row], image) <= 1, (spec, row)


def test_where_something_else_comes_first_crops_are_cut_from_what_it_made(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = load_data(photos / "folder", image_size=128, lazy=True, cache_dir=tmp_path, quiet=True)
    index, keys = torch.arange(4), Keys(0, 1, 4).sub("base")
    for base in map(parse, ("cutout+rrc", "oneof(rrc,flip)+invert")):
        view = BaseView.of(base, images)
        (rows,) = view.stream([(index, [keys])], "cpu")
        assert torch.equal(rows, images.images[index])
        assert torch.equal(view(rows, keys).images, base(rows, keys).images)
        assert f"augmentation '{base.name}' cuts its crops from images of 128x128 pixels" in capsys.readouterr().err
    BaseView.of(parse("flip"), images, [parse("flip+rrc:scale=0.3")])
    assert "'flip+rrc:scale=0.3' cuts its crops from images of 128x128" in capsys.readouterr().err
    BaseView.of(parse("flip+rrc"), images, [parse("rrc")])
    own = ImageSet.from_tensors(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), [0, 1, 0, 1])
    BaseView.of(parse("cutout+rrc"), own)  # which are stored as they are
    assert not capsys.readouterr().err


def test_only_bases_whose_crops_are_cut_elsewhere_now_have_another_version() -> None:
    former, new = {"rrc": 2}, {"rrc": 2, "rrc of stored images": 2}
    for spec, expected in {
        "flip": {},
        "rrc": former,
        "rrc+flip": former,
        "cutout+rrc": former,
        "oneof(rrc,flip)": former,
        "flip+rrc": new,
        "rrc:p=0.5+flip": new,
    }.items():
        assert versions_of_base(parse(spec)) == expected, spec
