"""Write the pages that are made of the code: ``python -m experiments.site``; ``--pictures`` draws augmentations too."""

from __future__ import annotations

import sys

from dametric.base.files import write_atomic
from experiments import option_pages
from experiments.site import DOCS, augmentations, commands, files, functions, metrics

PAGES = {
    "commands.md": commands.page,
    "options.md": option_pages.page,
    "functions.md": functions.page,
    "augmentations.md": augmentations.page,
    "metrics.md": metrics.page,
    "files.md": files.page,
}
"""Pages by name, each with what makes its text; a test holds that they are as they would be made now."""

if __name__ == "__main__":
    for name, page in PAGES.items():
        write_atomic(DOCS / name, page().encode())
    if "--pictures" in sys.argv[1:]:
        augmentations.pictures(DOCS)
