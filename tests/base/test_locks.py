"""Locks: held by one process at a time, until its end whatever that is; looking leaves them alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dametric.base import locks
from dametric.base.locks import BusyError, claimed, is_held

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys; from pathlib import Path
from dametric.base.locks import claimed
with claimed(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.filterwarnings("ignore:subprocess")
def test_a_claim_ends_with_its_process_and_the_next_is_told_how(tmp_path: Path) -> None:
    lock = tmp_path / "folder" / ".lock"
    for killed in (True, False):
        command = [sys.executable, "-c", HOLDER, str(lock)]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            assert is_held(lock)
            with pytest.raises(BusyError, match="another process is working on it"), claimed(lock, "it"):
                pass
            if killed:
                holder.kill()
            holder.communicate()
        assert not is_held(lock)
        with claimed(lock, "it") as before:
            assert (before or "").startswith(f"process {holder.pid} on ") == killed
        with claimed(lock, "it") as before:
            assert before is None


def test_looking_neither_claims_nor_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a folder that may not be written to."""
    lock = tmp_path / ".lock"
    assert not is_held(lock)
    assert not list(tmp_path.iterdir())
    with claimed(lock, "it"), monkeypatch.context() as patch:
        patch.setattr(locks, "FileLock", None)
        tmp_path.chmod(0o555)
        lock.chmod(0o444)
        assert is_held(lock)
        tmp_path.chmod(0o755)
    assert not is_held(lock)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_where_only_holding_tells_a_look_is_over_at_once(tmp_path: Path) -> None:
    """As on Windows."""
    lock = tmp_path / ".lock"
    assert not locks._is_held_by_trying(lock)
    assert not list(tmp_path.iterdir())
    with claimed(lock, "it"):
        assert locks._is_held_by_trying(lock)
    assert not locks._is_held_by_trying(lock)
    with claimed(lock, "it") as before:
        assert before is None
