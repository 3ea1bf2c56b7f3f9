"""The second stream of images: held out of the training split, clean, shown once under every augmentation."""

from __future__ import annotations

from dataclasses import replace

from dametric.augment import Augmentation
from dametric.base.arguments import argument
from dametric.data import hold_out
from dametric.data.balanced_subset import usual_held_out
from dametric.errors import UsageError
from dametric.scoring.engine import Engine

_SEED = 1 << 42  # so that nothing that is drawn for a training batch is drawn for held-out images again


def held_out_engine(engine: Engine, count: int | None) -> Engine | None:
    """The pass over held-out images; None where no metric needs them.

    The batches of the other pass go on to show all images, the held-out ones too: nothing is fitted to them.

    Parameters
    ----------
    engine : Engine
        The pass over training images.
    count : int, optional
        Number of images, chosen as :func:`dametric.data.hold_out` does; a tenth, 5,000 at most, by default.

    Raises
    ------
    UsageError
        If fewer than two batches can be held out.
    """
    metrics = [metric for metric in engine.metrics if "held_out" in metric.needs]
    metrics += [metric.less for metric in engine.metrics if metric.less is not None]
    if not metrics:
        if count is not None:
            raise UsageError(f"{argument('held_out', count)}: none of the metrics needs held-out images")
        return None
    batch = engine.protocol.batch
    wanted = count if count is not None else usual_held_out(len(engine.data), engine.data.num_classes)
    if wanted < 2 * batch:
        raise UsageError(
            f"{wanted} held-out images are fewer than two batches of {batch}: use a larger {argument('held_out')} or a "
            f"smaller {argument('batch_size')}"
        )
    _, images = hold_out(engine.data, wanted)
    own = {metric.name: replace(metric, needs=metric.needs - {"held_out"}) for metric in metrics}
    protocol = replace(engine.protocol, reference=False, seed=engine.protocol.seed ^ _SEED)
    return Engine(
        teacher=engine.teacher,
        student=engine.student,
        data=images,
        augs=engine.augs,
        metrics=list(own.values()),
        protocol=protocol,
        base=Augmentation("identity"),
        device=engine.device,
        ranks=engine.ranks,
    )
