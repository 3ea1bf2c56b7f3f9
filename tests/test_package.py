"""What is installed is all that the package reads: an editable installation would hide a file that a wheel lacks."""

from __future__ import annotations

from configparser import ConfigParser
from fnmatch import fnmatch
from pathlib import Path

import dametric

ROOT = Path(__file__).parent.parent


def test_every_file_beside_the_code_is_in_the_wheel() -> None:
    configuration = ConfigParser()
    configuration.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = configuration["options.package_data"]
    home = Path(dametric.__file__).parent
    files = [path for path in home.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    missing = []
    for path in files:
        room = path.parent
        while not (room / "__init__.py").is_file():
            room = room.parent
        patterns = listed.get("dametric" + "".join(f".{part}" for part in room.relative_to(home.parent).parts[1:]), "")
        if path.suffix != ".py" and not any(
            fnmatch(path.relative_to(room).as_posix(), pattern.strip()) for pattern in patterns.split(",")
        ):
            missing.append(path.relative_to(home).as_posix())
    assert missing == [], "name them under [options.package_data] in setup.cfg"
    assert len(files) > 300
