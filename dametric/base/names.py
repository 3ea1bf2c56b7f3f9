"""Names that become files and folders: the one place where they are checked."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from dametric.base.terminal import printable
from dametric.errors import UsageError

_LONGEST = 120  # bytes: file systems take 255, and other parts are added
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f/\\]")


def checked_name(name: str, what: str) -> str:
    """A name that the user has given and that becomes a part of a file's name.

    Parameters
    ----------
    name : str
    what : str
        What bears it, for the error: "teacher", "data set".

    Returns
    -------
    str
        The same.

    Raises
    ------
    UsageError
        If a file of that name would lie in another folder, or could not be made.
    """
    if not name or name.startswith(".") or _UNSAFE.search(name):
        raise UsageError(
            f"'{printable(name)[:80]}' cannot be the name of a {what}: files are called by it, so it is not empty, has "
            "no slash and begins with no dot; what it stands for can be given beside the name"
        )
    if len(name.encode(errors="surrogatepass")) > _LONGEST:
        raise UsageError(f"the name of a {what} has at most {_LONGEST} bytes, not '{printable(name)[:40]}...'")
    return name


def slug(text: str) -> str:
    """A text as a part of a file's name: as it is if it can be, else without what leads elsewhere, and with a hash.

    The hash keeps two texts apart that would look alike: ``a/b.py:net`` and ``a_b.py:net``.
    """
    if (
        text
        and not text.startswith(".")
        and not _UNSAFE.search(text)
        and len(text.encode(errors="surrogatepass")) <= _LONGEST
    ):
        return text
    plain = _UNSAFE.sub("_", text).lstrip(".")[:60]
    return f"{plain}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}"


def inside(root: Path, *parts: str) -> Path:
    """A path below a folder.

    Raises
    ------
    UsageError
        If the parts lead out of it.
    """
    path = root.joinpath(*parts)
    if not path.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"{path} is not below {root}: names lead out of it")
    return path
