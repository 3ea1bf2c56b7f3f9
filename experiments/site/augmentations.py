"""The page of every augmentation, and a picture of each on images that are made here."""

from __future__ import annotations

import inspect
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from dametric.augment import AUGS, ImageSpec, Keys, parse
from dametric.augment.catalogue import LINEAR, RANGES, SETS, WITHOUT_PROBABILITY, usual_value
from dametric.stats import family

FOLDER = Path("assets") / "augmentations"
_SIZE, _IMAGES, _SCALE = 48, 8, 2
_CERTAIN = " and ".join(f"`{name}`" for name in sorted(WITHOUT_PROBABILITY))
OPENING = f"""# Augmentations

Every built-in augmentation with its parameters, as `dametric ls augs` lists them. `p` is the probability that an
operation happens to an image: any of them takes it but
{_CERTAIN}, and it is 1 where no default is named. How they are combined, and how your own is
used, is in [own augmentations and metrics](own.md). Defaults in pixels are for images of 32 pixels, where a size is
named.

The first row of every picture is the base view, the second is what the augmentation makes of it, with `p=1` where it
has a `p` (picks: the pool that they pick from).

<sub>`python -m experiments.site --pictures`, seed 0: images of {_SIZE} pixels that the command makes, parameters drawn
for each.</sub>

**Families** are what is varied together: settings of one family are no independent evidence of each other, so that the
tests of `dametric correlate` permute families whole. Parameters marked *linear* go in equal steps in a range such as
`rotate:degrees=10..80/4`, all others in equal ratios."""


def page() -> str:
    """The page, a section for each family."""
    groups: dict[str, list[str]] = {}
    for name in AUGS:
        groups.setdefault(family(name), []).append(name)
    parts = [OPENING]
    for name, members in groups.items():
        parts.append(f"## Family {name}")
        parts += [_section(member) for member in members]
    sets = [f"| `{name}` | {_members(members)} |" for name, members in SETS.items() if name != "all"]
    return "\n\n".join([*parts, "## Sets", "\n".join(["| set | what is in it |", "|---|---|", *sets])]) + "\n"


def _members(members: tuple[str, ...]) -> str:
    return ", ".join(f"`{member}`" for member in members)


def _section(name: str) -> str:
    about = (inspect.getdoc(AUGS[name]) or "").rstrip(".")
    parts = [
        f"### {name}",
        f"{about[0].upper()}{about[1:]}.",
        f"![{name}: base views, and below them what it makes of them]({FOLDER.as_posix()}/{name}.png)",
    ]
    rows = list(_parameters(name))
    return "\n\n".join(
        [*parts, "\n".join(["| parameter | range | default |", "|---|---|---|", *rows])] if rows else parts
    )


def _parameters(name: str) -> Iterator[str]:
    for key, parameter in list(inspect.signature(AUGS[name]).parameters.items())[1:]:
        linear = " (linear)" if key in LINEAR - {"p"} else ""
        yield f"| `{key}`{linear} | {RANGES[name][key]} | {usual_value(name, key, parameter.default)} |"


def pictures(folder: Path) -> None:
    """Write a picture for every augmentation."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    for name in AUGS:
        (folder / FOLDER / f"{name}.png").write_bytes(picture(name))


def picture(name: str) -> bytes:
    """Base views above, augmented ones below: a PNG."""
    always = ":p=1" if "p" in inspect.signature(AUGS[name]).parameters else ""
    base = landscapes(_IMAGES, _SIZE)
    made = parse(name + always, ImageSpec(_SIZE))(base, Keys(0, 1, _IMAGES)).images[-_IMAGES:]
    pixels = made.round().clamp(0, 255).to(torch.uint8) if made.is_floating_point() else made
    rows = [np.concatenate([_framed(image) for image in row], 1) for row in (base, pixels)]
    sheet = Image.fromarray(np.concatenate(rows, 0)).resize(
        (rows[0].shape[1] * _SCALE, 2 * rows[0].shape[0] * _SCALE), 0
    )
    out = io.BytesIO()
    sheet.quantize(255, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def _framed(image: torch.Tensor) -> NDArray[np.uint8]:
    return np.pad(image.permute(1, 2, 0).numpy(), ((1, 1), (1, 1), (0, 0)), constant_values=255)


def landscapes(count: int, size: int) -> torch.Tensor:
    """Coloured landscapes with a sun and a house, so that every augmentation shows: uint8, (count, 3, size, size)."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[0 : 1 : size * 1j, 0 : 1 : size * 1j]
    images = []
    for _ in range(count):
        sky, ground, wall, sun = random.uniform(0.15, 1, (4, 3))
        picture = sky * (0.55 + 0.45 * y[..., None])
        at, up = random.uniform(0.15, 0.85), random.uniform(0.12, 0.3)
        picture[(x - at) ** 2 + (y - up) ** 2 < 0.012] = 0.5 + 0.5 * sun
        hill = 0.62 + 0.1 * np.sin(2 * np.pi * (x * random.uniform(0.6, 1.6) + random.uniform()))
        picture[y > hill] = (ground * (0.9 - 0.5 * (y - hill))[..., None])[y > hill]
        left, top = random.uniform(0.15, 0.6), random.uniform(0.48, 0.6)
        picture[(x > left) & (x < left + 0.26) & (y > top) & (y < top + 0.26)] = wall
        picture[(np.abs(x - left - 0.13) < (y - top + 0.16)) & (y < top) & (y > top - 0.16)] = wall * 0.4
        picture[(x > left + 0.1) & (x < left + 0.17) & (y > top + 0.12) & (y < top + 0.26)] = wall * 0.2
        images.append(picture)
    return torch.from_numpy((np.stack(images).clip(0, 1) * 255).astype(np.uint8)).permute(0, 3, 1, 2).contiguous()
