"""Read by every Python that has this folder on its path: small networks in commands and workers that tests start."""

from __future__ import annotations

from tests.sweeps.small import use_small_networks

use_small_networks()
