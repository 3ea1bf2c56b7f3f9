"""Networks as a caller passes them: files, modules, checkpoints."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from torch import nn

from dametric.data import AvailableSplit, ImageSet
from dametric.data.evaluation import Evaluation
from dametric.errors import UsageError
from dametric.models.checkpoint import Checkpoint
from dametric.models.loaded import LoadedNetwork, built_network, taken_on_trust
from dametric.models.normalisation import Given, Normalisation, evaluation_of
from dametric.models.reading import WeightFile, read_weights
from dametric.models.weight_sets import Role

AnyNetwork = nn.Module | Checkpoint | LoadedNetwork | str | os.PathLike[str]


@dataclass(frozen=True)
class Named:
    """A network as it was passed: an object, or the content of a file.

    Attributes
    ----------
    network : nn.Module, Checkpoint, LoadedNetwork or WeightFile
    role : {"teacher", "student"}
    file : str or None
        Name of the file.
    arch : str, optional
        Architecture given with the file.
    """

    network: nn.Module | Checkpoint | LoadedNetwork | WeightFile
    role: Role
    file: str | None = None
    arch: str | None = None

    @classmethod
    def read(cls, network: AnyNetwork, role: Role, arch: str | None, weights: str | None) -> Named:
        """Read the file, if it is one, but build no network yet, since some depend on the image size."""
        if isinstance(network, (str, os.PathLike)):
            return cls(read_weights(network, weights, role), role, Path(network).name, arch)
        if not isinstance(network, (nn.Module, Checkpoint, LoadedNetwork)):
            raise UsageError(
                f"the {role} is a file, a network (nn.Module) or a checkpoint (dametric.load_checkpoint), not "
                f"{type(network).__name__}"
            )
        return cls(network, role)

    def built(self, data: ImageSet | AvailableSplit, requested_size: int | None) -> Named:
        """The same with a file's network built for images of a set."""
        if not isinstance(self.network, WeightFile):
            return self
        return replace(self, network=built_network(self.network, self.arch, data, requested_size))

    @property
    def record(self) -> dict[str, Any]:
        """Identity of a checkpoint for a score file."""
        if not isinstance(self.network, Checkpoint):
            return {}
        return {"arch": self.network.arch, **({"file": self.file} if self.file else {}), "sha256": self.network.sha256}

    def loaded(
        self,
        data: ImageSet,
        mean: Given,
        std: Given,
        quiet: bool,
        otherwise: Normalisation | None = None,
        kind: type[LoadedNetwork] = LoadedNetwork,
        *,
        read_here: bool = False,
    ) -> Any:
        """The network prepared for images; its notes are printed, unless it is a `LoadedNetwork` already."""
        if isinstance(self.network, LoadedNetwork):
            parts = {part.name: getattr(self.network, part.name) for part in fields(LoadedNetwork)}
            return self.network if isinstance(self.network, kind) else kind(**parts)
        assert not isinstance(self.network, WeightFile)
        loaded = kind.of(self.network, data, mean, std, role=self.role, otherwise=otherwise)
        trust = [] if read_here else taken_on_trust(self.network, data, self.role)
        loaded.introduce(self.role, quiet, trust)
        return loaded

    @property
    def speaks_of_images(self) -> bool:
        """Whether it describes its training images."""
        return isinstance(self.network, (WeightFile, Checkpoint))

    @property
    def evaluation(self) -> Evaluation | None:
        """How its library evaluates it, where its name says one and it was not trained here."""
        if isinstance(self.network, (WeightFile, Checkpoint)) and self.network.data is not None:
            return None
        if isinstance(self.network, nn.Module):
            return evaluation_of("", self.network)
        stored = self.network.rest.get("arch") if isinstance(self.network, WeightFile) else self.network.arch
        arch = self.arch or stored
        return evaluation_of(arch, getattr(self.network, "model", None)) if isinstance(arch, str) else None

    @property
    def model(self) -> nn.Module:
        """The built network."""
        assert not isinstance(self.network, WeightFile)
        return self.network if isinstance(self.network, nn.Module) else self.network.model
