"""Messages name arguments as their reader writes them."""

from __future__ import annotations

import doctest
import subprocess
import sys

from dametric.base import arguments
from dametric.base.arguments import argument, speaking


def test_the_examples_of_the_docstrings_hold() -> None:
    tried = doctest.testmod(arguments)
    assert tried.attempted
    assert not tried.failed


def test_an_argument_is_named_as_its_reader_writes_it() -> None:
    assert argument("label_column", "fine") == "label_column='fine'"
    with speaking("command line"):
        assert argument("label_column", "fine") == "--label-column fine"
        assert argument("augs") == "--aug"
        assert argument("root", "DIR") == "--data-root DIR"
        with speaking("grid"):
            assert argument("label_column") == "data.label_column"
            assert argument("config", "cifar") == "--set data.config=cifar"
            assert argument("download", True) == "--set data.download=true"
            assert argument("time_budget") == "--time-budget"
        assert argument("download", True) == "--download"
    assert argument("download", True) == "download=True"


def test_processes_that_are_started_speak_alike() -> None:
    code = "from dametric.base.arguments import argument; print(argument('batch_size', 8))"
    with speaking("command line"):
        started = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert started.stdout == "--batch-size 8\n"
