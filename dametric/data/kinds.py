"""Readers by path, and remedies for files that none reads."""

from __future__ import annotations

from pathlib import Path

from dametric.data import idx, npz
from dametric.data.builtin import cifar_in
from dametric.data.layout import folders
from dametric.data.listing import check_regular
from dametric.data.shards import files
from dametric.errors import UsageError

_UNPACK = "unpack it and give the folder"
_CONVERT = "write its images as folders train/CLASS/IMAGE.png, as Parquet files or as an .npz file"
_UNREAD = {  # by ending: what the file is, and the remedy
    ".tar": ("a tar archive", f"{_UNPACK}; of a webdataset (IMAGE.jpg beside IMAGE.cls) {_CONVERT}"),
    ".tgz": ("a tar archive", _UNPACK),
    ".tar.gz": ("a tar archive", _UNPACK),
    ".tar.xz": ("a tar archive", _UNPACK),
    ".tar.bz2": ("a tar archive", _UNPACK),
    ".zip": ("a zip archive", _UNPACK),
    ".7z": ("an archive", _UNPACK),
    ".rar": ("an archive", _UNPACK),
    ".h5": ("an HDF5 file", _CONVERT),
    ".hdf5": ("an HDF5 file", _CONVERT),
    ".mat": ("a MATLAB file", _CONVERT),
    ".tfrecord": ("a file of TensorFlow's records", _CONVERT),
    ".tfrecords": ("a file of TensorFlow's records", _CONVERT),
    ".rec": ("a file of MXNet's records", _CONVERT),
    ".mdb": ("an LMDB data base", _CONVERT),
    ".lmdb": ("an LMDB data base", _CONVERT),
    ".beton": ("a file of FFCV's", _CONVERT),
    ".bin": ("a binary file of no known layout", "of CIFAR take the version for Python, else " + _CONVERT),
    ".pkl": ("a pickle, which may run any code when it is read", _CONVERT),
    ".pickle": ("a pickle, which may run any code when it is read", _CONVERT),
    ".pt": ("a pickle, which may run any code when it is read", _CONVERT),
    ".pth": ("a checkpoint or a pickle", "give images here, and a checkpoint as the teacher"),
    ".csv": ("a table", "give the folder of its images, sorted as train/CLASS/IMAGE.png"),
    ".gz": ("a packed file", "of IDX files give the folder, of others " + _UNPACK),
}


def kind(path: Path) -> tuple[str, Path]:
    """Reader of a path, and the path to read: the one given, or the only folder in it.

    Parameters
    ----------
    path : Path
        An existing file or folder.

    Returns
    -------
    str
        "npz", "npy", "parquet", "arrow", "cifar10", "cifar100", "idx", or "folder" of images.
    Path

    Raises
    ------
    UsageError
        If no reader takes it; the message says what it is and what to do.
    """
    if not path.is_dir():
        return _kind_of_file(path), path
    for ending in (".parquet", ".arrow"):
        if files(path, ending):
            return ending[1:], path
    for folder in _chain(path):
        if cifar := cifar_in(folder):
            return cifar, folder
        if idx.is_here(folder):
            return "idx", folder
        if npz.is_pair(folder):
            return "npy", folder
        if not folders(folder):
            refuse_unread(folder)
    return "folder", path


def _kind_of_file(path: Path) -> str:
    check_regular(path)
    suffix = path.suffix.lower()
    if suffix in (".npz", ".npy", ".parquet", ".arrow"):
        return suffix[1:]
    what = _unread(path)
    raise UsageError(
        f"{path} is {what[0]}: {what[1]}" if what else f"{path} is no folder, .parquet or .npz file, nor .arrow or .npy"
    )


def _unread(path: Path) -> tuple[str, str] | None:
    name = path.name.lower()
    endings = sorted((ending for ending in _UNREAD if name.endswith(ending)), key=len)
    return _UNREAD[endings[-1]] if endings else None


def refuse_unread(folder: Path) -> None:
    """Refuse a folder without readable images that holds files of a known other kind.

    Raises
    ------
    UsageError
        If there are such files.
    """
    for path in sorted(folder.iterdir()):
        if path.is_file() and (what := _unread(path)):
            raise UsageError(f"{folder} holds {path.name}, {what[0]}: {what[1]}")


def _chain(path: Path) -> list[Path]:
    """A folder and the folders nested in it, as long as each holds only one."""
    chain = [path]
    while len(chain) < 3 and len(inside := folders(chain[-1])) == 1:
        chain += inside.values()
    return chain
