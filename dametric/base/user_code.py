"""The user's own code, named by a dotted path or by a file: ``pkg.mod:fn``, ``./file.py:fn``."""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from dametric.errors import UsageError

NUMBER = r"-?(?:\d+\.?\d*|\.\d+)(?:[eE]-?\d+)?"  # of a parameter, as specifications write it
_PACKAGE = str(Path(__file__).resolve().parents[1]) + os.sep
_NOT_OWN = (_PACKAGE, *{sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_VERSION = b"2"  # of what is hashed of a function, which names runs: it was its file and bytecode before
_GROUP = re.compile(r"\s*(?:oneof|pick)\(")
_OF_PICK = ("by", "runs")
_OPERATION = re.compile(r"[^+:]*/.*?\.py:[^+]*|[^+]*", re.DOTALL)


def load_object(spec: str, kind: str) -> Callable[..., Any]:
    """Import the callable that ``spec`` names.

    Parameters
    ----------
    spec : str
        ``pkg.mod:fn`` (searched in the current folder too), ``./file.py:fn``, ``/abs/file.py:fn`` or
        ``~/file.py:fn``. ``fn`` may be dotted, as in ``Class.method``. This runs the code of that module.
    kind : str
        What it is for, as a user would say it ("augmentation", "architecture").

    Returns
    -------
    callable
        The function or class. A file that has not changed is run once per process.

    Raises
    ------
    UsageError
        If the file or module is missing, its code fails, or it holds no such callable.
    """
    found = load_value(spec, kind)
    if not callable(found):
        raise UsageError(f"{kind} '{spec}' is a {type(found).__name__}, not a function or class")
    result: Callable[..., Any] = found
    return result


def is_user_code(spec: str) -> bool:
    """Whether a name is that of code that is not the package's: ``./file.py:name``, ``pkg.mod:name``."""
    return ":" in spec


def load_value(spec: str, kind: str) -> Any:
    """Import what ``spec`` names, whatever it is; see :func:`load_object`.

    Raises
    ------
    UsageError
        If the file or module is missing, its code fails, or it holds no such name.
    """
    where, _, name = spec.rpartition(":")
    if not where or not name:
        raise UsageError(f"{kind} '{spec}' names no function: write pkg.mod:fn or ./file.py:fn")
    is_file = where.endswith(".py") or "/" in where
    module = _from_file(Path(where).expanduser(), spec, kind) if is_file else _from_path(where, spec, kind)
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise UsageError(_no_such(found, part, where, kind)) from None
    return found


def split_spec(spec: str) -> list[str]:
    """The operations of a specification, which are joined by ``+``.

    What begins with a folder is a path up to its ``.py:``, whatever it holds on the way: ``./my+augs.py:snow+flip``
    is ``./my+augs.py:snow`` and ``flip``. So is a group up to its last parenthesis:
    ``oneof(crop+flip,cutout)+mixup`` is ``oneof(crop+flip,cutout)`` and ``mixup``.
    """
    parts, at = [], 0
    while True:
        start, group = at, _GROUP.match(spec, at)
        at = at if group is None else _closing(spec, group.end())
        found = _OPERATION.match(spec, at)
        assert found is not None  # it matches nothing at all too
        parts.append(spec[start : found.end()].strip())
        if found.end() == len(spec):
            return parts
        at = found.end() + 1


def branches(part: str) -> list[str] | None:
    """The specifications between the commas of ``oneof(a,b)``; None of what is no such group, or is not closed.

    ``pick(a):by=kld`` is such a group too, and ``pick:base=a,by=kld`` is short for it.
    """
    part = in_full(part)
    group = _GROUP.match(part)
    if group is None:
        return None
    end = _closing(part, group.end())
    if part[end - 1] != ")":
        return None
    found, depth = [""], 0
    for letter in part[group.end() : end - 1]:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            found.append("")
        else:
            found[-1] += letter
    return [spec.strip() for spec in found]


def in_full(part: str) -> str:
    """``pick:base=mixup,alpha=2,by=kld`` as ``pick(mixup:alpha=2):by=kld``; any other operation as it is."""
    name, *words = part.replace(",", ":").split(":")
    pairs = {key.strip(): text.strip() for key, equals, text in (word.partition("=") for word in words) if equals}
    if name != "pick" or "base" not in pairs or len(pairs) < len(words):
        return part
    inner = [pairs.pop("base"), *(f"{key}={text}" for key, text in pairs.items() if key not in _OF_PICK)]
    own = [f"{key}={text}" for key, text in pairs.items() if key in _OF_PICK]
    return ":".join([f"pick({':'.join(inner)})", *own])


def _closing(spec: str, start: int) -> int:
    """Place after the parenthesis that closes the one before ``start``; the end where there is none."""
    depth = 1
    for place in range(start, len(spec)):
        depth += (spec[place] == "(") - (spec[place] == ")")
        if not depth:
            return place + 1
    return len(spec)


def source_digest(thing: Any) -> str:
    """Hash that changes with the text of the user's code: the file it is from, what a function captures, settings.

    Parameters
    ----------
    thing : object
        A function, a method, a class, or an object that is called.

    Returns
    -------
    str
        Hexadecimal. What cannot be read (code written in C, addresses in memory, see :func:`without_source`) is left
        out.
    """
    digest = hashlib.sha256()
    for part in _parts(thing, {}):
        digest.update(part + b"\0")
    return digest.hexdigest()


def code_digest(thing: Any) -> str:
    """Hash of a function's own text, its file and the plain values that it captured.

    Unlike :func:`source_digest` it leaves out whatever may change while the function is used, such as a list that it
    fills: it tells whether code that is called again is the same.

    Examples
    --------
    >>> calls = []
    >>> def counted():
    ...     calls.append(1)
    >>> before = code_digest(counted)
    >>> counted()
    >>> code_digest(counted) == before
    True
    """
    digest = hashlib.sha256()
    while isinstance(thing, functools.partial):
        digest.update(repr(_plain((thing.args, tuple(sorted(thing.keywords.items()))))).encode())
        thing = thing.func
    thing = getattr(thing, "__func__", thing)
    if inspect.isfunction(thing):
        captured = tuple(sorted(inspect.getclosurevars(thing).nonlocals.items()))
        digest.update(_columns(thing) + repr(_plain((thing.__defaults__, captured))).encode())
    elif not inspect.isclass(thing):
        thing = type(thing)
    digest.update(str(getattr(thing, "__qualname__", "")).encode() + _source(thing))
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """Numbers, words, and tuples of such; of everything else its type."""
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return value if isinstance(value, (bool, int, float, str, bytes, type(None))) else type(value).__qualname__


def without_source(thing: Any) -> list[str]:
    """Names of functions and classes in Python that :func:`source_digest` cannot read, as those typed at a prompt."""
    parts: dict[int, Any] = {}
    for _ in _parts(thing, parts):
        pass
    return [part.__qualname__ for part in parts.values() if _is_python(part) and not _source(part)]


def _is_python(thing: Any) -> bool:
    return inspect.isfunction(thing) or (inspect.isclass(thing) and any(map(inspect.isfunction, vars(thing).values())))


def _parts(thing: Any, seen: dict[int, Any]) -> Iterator[bytes]:
    """Everything that what ``thing`` computes depends on, as far as it can be seen."""
    if id(thing) in seen:
        return
    seen[id(thing)] = thing  # kept, lest another object get its number
    if inspect.ismethod(thing):
        yield from (*_parts(thing.__func__, seen), *_parts(thing.__self__, seen))
    elif isinstance(thing, functools.partial):
        yield from (*_parts(thing.func, seen), *_parts((thing.args, sorted(thing.keywords.items())), seen))
    elif inspect.isfunction(thing):
        yield from (_VERSION, thing.__qualname__.encode(), _source(thing), _columns(thing))
        captured = inspect.getclosurevars(thing).nonlocals
        yield from _parts((thing.__defaults__, thing.__kwdefaults__, sorted(captured.items())), seen)
    elif inspect.isclass(thing):
        yield from (thing.__qualname__.encode(), _source(thing))
    elif isinstance(thing, (list, tuple, dict)):
        for item in thing.items() if isinstance(thing, dict) else thing:
            yield from _parts(item, seen)
    else:
        yield re.sub(r" at 0x[0-9a-f]+", "", repr(thing)).encode()
        yield from _parts(type(thing), seen)
        yield from _parts(sorted(getattr(thing, "__dict__", {}).items()), seen)


def _columns(function: FunctionType) -> bytes:
    """First and last column of a lambda, of which there may be several in one line."""
    if function.__name__ != "<lambda>":
        return b""
    spans = [(start, end) for *_, start, end in function.__code__.co_positions() if start is not None and end]
    return repr((min(spans)[0], max(end for _, end in spans)) if spans else None).encode()


def _source(thing: Any) -> bytes:
    """Text of the file that a function or class is from, and of the function; empty where there is none."""
    text = b""
    with suppress(TypeError, OSError):
        text = Path(inspect.getfile(thing)).read_bytes()
    with suppress(TypeError, OSError):
        text += b"" if text and inspect.isclass(thing) else inspect.getsource(thing).encode()  # alone in a notebook
    return text


def one_line(error: BaseException, limit: int = 200) -> str:
    """An exception as one line, such as ``NameError: name 'x' is not defined``."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def line_of(error: BaseException) -> str:
    """The last line of the user's own code that an exception passed, as `` (augs.py:12)``; empty without one."""
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [(file, line) for file, line in frames if file.endswith(".py") and not file.startswith(_NOT_OWN)]
    if not own:
        return ""
    file, line = own[-1]
    return f" ({os.path.relpath(file) if file.startswith(os.getcwd() + os.sep) else file}:{line})"


def _no_such(holder: Any, name: str, where: str, kind: str) -> str:
    names = [key for key, value in vars(holder).items() if callable(value) and not key.startswith("_")]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"{where} has no {kind} '{name}'" + (f": did you mean {' or '.join(near)}?" if near else "")


def _from_file(path: Path, spec: str, kind: str) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"{kind} '{spec}': there is no file {path}")
    path = path.resolve()
    state = path.stat()
    # The name changes with the file, so that an edited file is run again and an unchanged one is not; the
    # module stays importable by that name, which pickling (worker processes) and dataclasses rely on.
    digest = hashlib.sha256(f"{path}:{state.st_mtime_ns}:{state.st_size}".encode()).hexdigest()[:12]
    name = f"_dametric_user_{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise UsageError(f"{kind} '{spec}': {path} is not a Python file (its name must end in .py)")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    _search(path.parent)
    try:
        found.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise UsageError(f"{kind} '{spec}': running {path} failed with {one_line(error)}") from error
    return module


def _from_path(dotted: str, spec: str, kind: str) -> ModuleType:
    _search(Path.cwd())
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError as error:
        if error.name and (dotted == error.name or dotted.startswith(f"{error.name}.")):
            raise UsageError(f"{kind} '{spec}': there is no module {error.name}") from error
        raise UsageError(f"{kind} '{spec}': importing {dotted} failed with {one_line(error)}") from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"{kind} '{spec}': importing {dotted} failed with {one_line(error)}") from error


def _search(folder: Path) -> None:
    """Let imports also look in ``folder``: last, so that it hides nothing, and for good, as functions import late."""
    importlib.invalidate_caches()
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
