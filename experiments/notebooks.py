"""Execute the notebooks: `make notebooks`, or `python -m experiments.notebooks`.

Each `analysis/*.py` in the percent format is the notebook; the `.ipynb` beside it is made from it, with outputs. An
error in any cell ends it with that error, and the old `.ipynb` stays.
"""

from __future__ import annotations

import base64
import re
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import typer

from dametric.base.files import write_atomic

FOLDER = Path(__file__).resolve().parents[1] / "analysis"


def executed(source: Path) -> Any:
    """A notebook with outputs, from a script in the percent format.

    Parameters
    ----------
    source : Path

    Returns
    -------
    nbformat.NotebookNode
        The same for the same numbers: cells are counted, not timed, and addresses of objects are not kept.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell fails.
    """
    import jupytext
    from nbclient import NotebookClient

    book = jupytext.read(source)
    book.metadata.pop("jupytext", None)
    book.metadata["jupytext"] = {"formats": "ipynb,py:percent"}
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for place, cell in enumerate(book.cells):
        cell["id"] = f"cell-{place}"
    resources = {"metadata": {"path": str(source.parent)}}
    NotebookClient(book, timeout=600, kernel_name="python3", record_timing=False, resources=resources).execute()
    book.metadata.pop("language_info", None)
    for output in (output for cell in book.cells for output in cell.get("outputs", [])):
        if "image/png" in output.get("data", {}):
            output["data"]["image/png"] = smaller(output["data"]["image/png"])
    return book


def smaller(png: str) -> str:
    """A figure in base64 with 64 colours at most, which is a third of its size."""
    from PIL import Image

    image, buffer = Image.open(BytesIO(base64.b64decode(png))).convert("RGB"), BytesIO()
    image.quantize(64, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(buffer, "png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def text_of(book: Any) -> str:
    """The notebook as a file."""
    import nbformat

    return re.sub(r" at 0x[0-9a-f]+>", ">", nbformat.writes(book)) + "\n"


def main(
    sources: Annotated[list[Path] | None, typer.Argument(help="Scripts; all of analysis/ by default.")] = None,
) -> None:
    """Execute and write."""
    for source in sources or sorted(FOLDER.glob("*.py")):
        target = source.with_suffix(".ipynb")
        write_atomic(target, text_of(executed(source)))
        print(f"executed {target.name}")


if __name__ == "__main__":
    typer.run(main)
