"""Choice among several sets or columns of one source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """Columns and configuration that the user chose; None leaves the choice to the files.

    Attributes
    ----------
    label, image : str or None
        Columns of labels and images.
    config : str or None
        One of several sets in a folder, which the Hugging Face hub calls configurations.
    """

    label: str | None = None
    image: str | None = None
    config: str | None = None
