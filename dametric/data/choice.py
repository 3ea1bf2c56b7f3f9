"""What the user chose of a source that holds more than one set."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """What of a table the user chose; None leaves it to what files say.

    Attributes
    ----------
    label, image : str or None
        Columns of labels and images.
    config : str or None
        Which of several sets in one folder, that the hub calls configurations.
    """

    label: str | None = None
    image: str | None = None
    config: str | None = None
