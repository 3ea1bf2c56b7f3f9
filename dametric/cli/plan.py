"""`dametric plan`."""

from __future__ import annotations

from typing import Annotated

import typer

from dametric.cli.options import Seed

POWER = 0.8


def plan(
    rho: Annotated[float, typer.Option(help="True correlation of score and loss.")],
    augs: Annotated[int, typer.Option(help="Augmentations.")],
    seeds: Annotated[int, typer.Option(help="Students for each augmentation.")] = 3,
    units: Annotated[int, typer.Option(help="Teacher-student pairs.")] = 1,
    seed_sd: Annotated[float, typer.Option(help="Standard deviation of the test loss over seeds.")] = 0.02,
    spread: Annotated[float, typer.Option(help="Standard deviation of the loss over augmentations.")] = 0.04,
    alpha: Annotated[float, typer.Option(help="Level of the test.")] = 0.05,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    seed: Seed = 0,
) -> None:
    """Say what a study of a given size can detect, by simulation.

    \b
    Examples:
      dametric plan --rho 0.6 --augs 9
      dametric plan --rho 0.5 --augs 24 --seeds 2 --units 4
    """
    from json import dumps

    import dametric
    from dametric.analysis.plain import plain
    from dametric.cli.correlation import print_power
    from dametric.stats import detectable

    found = dametric.power(rho, augs, seeds, units, seed_sd, spread, alpha, seed=seed)
    least = detectable(augs, seeds, units, seed_sd=seed_sd, spread=spread, alpha=alpha, least=POWER, seed=seed)
    if json:
        print(dumps({**plain(found), "detectable": plain(least), "at_power": POWER}, indent=1))
        return
    pairs = "" if units == 1 else f" in {units} units"
    study = f"{augs} augmentations, {seeds} seeds each{pairs}; true correlation {rho:g}, seed noise {seed_sd:g},\n"
    print_power(found, least, POWER, f"{study}spread of the losses {spread:g}")
