"""Fixtures for every test: real data where it is at hand, and a cache that is not the user's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared(request: pytest.FixtureRequest) -> Path:
    """The folder of real images, checkpoints and reference values: DAMETRIC_REFERENCE, or that beside the project.

    A skip where there is none; a failure under ``-m gpu``, where nobody would notice that the GPU was hardly tested.
    """
    given = os.environ.get("DAMETRIC_REFERENCE")
    folder = Path(given) if given else Path(__file__).resolve().parents[1].parent / "shared"
    if not folder.is_dir():
        line = f"no reference data: {folder} does not exist; DAMETRIC_REFERENCE names its place"
        (pytest.fail if request.config.getoption("markexpr") == "gpu" else pytest.skip)(line)
    return folder


@pytest.fixture(scope="session")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache folder for the whole run, so that real data are decoded once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _no_user_cache(cache_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_home))
