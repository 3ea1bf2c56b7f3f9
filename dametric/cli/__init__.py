"""The command line; heavy imports happen inside commands."""

from __future__ import annotations

import functools
import os
import re
import sys
from typing import Annotated, Any

import typer

from dametric.base.terminal import printable
from dametric.cli import (
    cache,
    choose,
    compare,
    correlate,
    data,
    demo,
    distill,
    export,
    init,
    ls,
    plan,
    report,
    runs,
    score,
    show,
    sweep,
    train,
)
from dametric.cli.streams import prepare_streams
from dametric.errors import Interrupted, RunFailed, UsageError

# click's base class for bad usage, by way of typer: newer versions of typer carry a click of their own
_BadUsage: type[Exception] = typer.BadParameter.__mro__[2]
_LONGEST = 500  # characters of a word in a message: paths are shorter, a number of 5,000 digits is not
_INTERRUPTED = 130  # exit code, as shells have it

app = typer.Typer(
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Which data augmentation to use for distilling from a teacher, with an honest error bar.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from dametric import __version__

        print(f"dametric {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


for _command in (
    *(choose.choose, score.score, show.show, train.train, distill.distill, sweep.sweep, runs.runs),
    *(correlate.correlate, compare.compare, report.report, plan.plan, ls.ls, export.export),
    *(cache.cache, init.init, demo.demo),
):
    app.command()(_command)
app.add_typer(data.app, name="data")


def main() -> None:
    """Entry point: errors of the user's are one line on stderr and exit 2."""
    from dametric.base.interrupts import ctrl_c_received, remember_ctrl_c

    prepare_streams()
    # threads of torch that wait would otherwise turn in circles for milliseconds, on cores that decode images meanwhile
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "_DAMETRIC_COMPLETE" in os.environ:  # a shell asks for completions, which typer answers and ends
        app(prog_name="dametric")
    code = 0
    try:
        with remember_ctrl_c():
            code = _run(sys.argv[1:])
    except (KeyboardInterrupt, Exception):
        if not ctrl_c_received():
            raise
        if code != _INTERRUPTED:  # it came after the work, or broke an import off, which may end as any error
            code = _fail("interrupted; what was written is whole", _INTERRUPTED)
    if code == _INTERRUPTED:
        try:
            sys.stdout.flush()
        finally:  # libraries that were interrupted in mid-work, or half imported, may hang when Python ends
            os._exit(code)
    sys.exit(code)


@functools.cache
def _commands() -> Any:  # of a click that is typer's own or not, by its version
    return typer.main.get_command(app)


def _run(arguments: list[str]) -> int:
    from dametric.base.arguments import speaking

    command = _commands()
    try:
        # not command.main(), which has exits of its own for interrupts and closed pipes
        with (
            speaking("command line"),
            command.make_context("dametric", _with_address(arguments) or ["--help"]) as context,
        ):
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as stop:
        return stop.exit_code
    except UsageError as error:
        return _fail(str(error), 2)
    except _BadUsage as error:
        message: str = error.format_message()  # type: ignore[attr-defined]
        return _fail(message if "Did you mean" in message else f"{message} (see --help)", 2)
    except RunFailed as error:
        return _fail(str(error), 1)
    except Interrupted as error:
        return _fail(str(error), _INTERRUPTED)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted; what was written is whole", _INTERRUPTED)
    except OSError as error:
        if error.filename:
            return _fail(f"{error.filename}: {error.strerror}", 2)
        # nothing more can be said on stdout: its reader has gone, for example `head`, or its disk is full
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python fails once more when it flushes at its end
        return 0 if isinstance(error, BrokenPipeError) else _fail(f"cannot write: {error.strerror or error}", 2)
    return 0


def _with_address(arguments: list[str]) -> list[str]:
    """Let ``--ray`` go without an address, which no option of typer's can."""
    spelt = []
    for word, following in zip(arguments, [*arguments, ""][1:], strict=True):
        alone = word == "--ray" and not re.fullmatch(r"auto|local|ray://.+|[^-][^/]*:\d+", following)
        spelt.append("--ray=auto" if alone else word)
    return spelt


def _fail(message: str, code: int) -> int:
    # of the processes that torchrun has started one a host speaks for all, which end alike
    if "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("LOCAL_RANK", "0") == "0":
        words = (word if len(word) <= _LONGEST else f"{word[:60]}..." for word in message.split())
        print(printable(f"dametric: {' '.join(words)}"), file=sys.stderr)
    return code
