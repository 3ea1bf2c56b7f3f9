"""Networks as people write them: whatever they return and however they flatten, logits come out."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dametric import ImageSet, UsageError
from dametric.models import inference_copy
from dametric.models.interface import Interface, input_channels, interface
from dametric.models.network import Network

CLASSES = 5
Pair = namedtuple("Pair", ["logits", "aux_logits"])


class ModelOutput(OrderedDict):
    """As the outputs of transformers are: a dict whose fields are attributes too."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


@dataclass
class Fields:
    hidden: Tensor
    logits: Tensor


class Views(nn.Module):
    """Flattens as half of all teaching code does; ``how`` says what it then returns."""

    def __init__(self, how: Callable[[Tensor, Tensor], Any] = lambda logits, features: logits) -> None:
        super().__init__()
        self.how = how
        self.one, self.two = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norm, self.pool, self.last = nn.BatchNorm2d(6), nn.MaxPool2d(2), nn.Linear(96, CLASSES)

    def forward(self, images: Tensor) -> Any:
        maps = torch.relu(self.norm(self.one(images)))
        maps = self.pool(torch.relu(self.two(maps) + maps))
        features = maps.view(maps.size(0), -1)
        return self.how(self.last(features), features)


class Looks(Views):
    """What cannot be traced runs in its own code."""

    def forward(self, images: Tensor) -> Any:
        assert images.amax() < 1e6
        return super().forward(images)


@pytest.fixture(scope="module")
def data() -> ImageSet:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (20, 3, 8, 8), generator=draw, dtype=torch.uint8)
    return ImageSet.from_tensors(images, torch.arange(20) % CLASSES, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return make()


def look(model: nn.Module, data: ImageSet, **options: Any) -> Interface:
    return interface(model, data, data.mean, data.std, who="teacher", **{"classes": CLASSES, **options})


def normalised(data: ImageSet) -> Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (data.mean, data.std))
    return (data.images.float() / 255 - mean) / std


def asked(model: nn.Module, data: ImageSet, way: Interface, dtype: torch.dtype = torch.float32) -> Tensor:
    copy = inference_copy(model, dtype=dtype, interface=way)
    of = {"mean": data.mean, "std": data.std, "chunk": 7, "dtype": dtype, "device": torch.device("cpu")}
    return Network(copy, **of)(data.images)


@pytest.mark.parametrize("make", [Views, Looks])
def test_a_network_that_views_runs_fused_or_not(
    make: type[Views], data: ImageSet, capfd: pytest.CaptureFixture[str]
) -> None:
    model = seeded(make).eval()
    with torch.no_grad():
        expected = model(normalised(data)).double()  # in the layout it was written for
    way = look(model, data)
    assert way == Interface(channels_last=False)
    torch.testing.assert_close(asked(model, data, way), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(asked(model, data, way, torch.float64), expected, rtol=1e-4, atol=1e-5)
    assert capfd.readouterr() == ("", "")


def test_one_channel_may_be_of_either_layout(data: ImageSet) -> None:
    grey = data.grey()
    model = seeded(Views).eval()
    model.one = nn.Conv2d(1, 6, 3, padding=1)
    with torch.no_grad():
        normal = (grey.images.float() / 255 - grey.mean[0]) / grey.std[0]
        expected = model(normal.clone(memory_format=torch.contiguous_format)).double()
    way = look(model, grey, training=True)
    assert way == Interface(channels_last=False)
    for dtype in (torch.float32, torch.float64):  # fused or not
        torch.testing.assert_close(asked(model, grey, way, dtype), expected, rtol=1e-4, atol=1e-5)


def test_what_runs_on_channels_last_is_left_as_it_is(data: ImageSet) -> None:
    flat = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, CLASSES)))
    before = torch.get_rng_state()
    assert look(flat, data, training=True) == Interface()
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(asked(flat, data, look(flat, data)), asked(flat, data, Interface()))


RETURNS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "features first": lambda logits, features: (features, logits),
    "a list of maps": lambda logits, features: (logits, [features.view(-1, 6, 4, 4)]),
    "alone in a tuple": lambda logits, features: (logits,),
    "a dict": lambda logits, features: {"features": features, "prediction": logits},
    "two in a dict": lambda logits, features: {"aux": 2 * logits, "logits": logits},
    "ModelOutput": lambda logits, features: ModelOutput(loss=None, logits=logits, hidden_states=(features,)),
    "named": lambda logits, features: Pair(logits, 3 * logits),
    "fields": lambda logits, features: Fields(features, logits),
    "nested": lambda logits, features: {"head": {"out": logits}, "features": features},
    "with dimensions of 1": lambda logits, features: logits[:, :, None, None],
}


def test_logits_are_found_in_what_networks_return(data: ImageSet) -> None:
    plain = seeded(Views).eval()
    expected = asked(plain, data, look(plain, data))
    for name, how in RETURNS.items():
        model = seeded(lambda how=how: Views(how)).eval()
        way = look(model, data)
        assert way.guess.startswith("teacher: "), name
        assert "\n" not in way.guess
        torch.testing.assert_close(asked(model, data, way), expected, rtol=1e-5, atol=1e-6)


def test_classes_need_not_be_known_where_a_name_tells(data: ImageSet) -> None:
    for name in ("two in a dict", "ModelOutput", "named", "fields"):
        assert look(Views(RETURNS[name]), data, classes=None).evaluated.path[-1] == "logits"
    assert look(Views(RETURNS["features first"]), data).evaluated.path == (1,)
    with pytest.raises(UsageError, match=r"a tuple of \(8, 96\), \(8, 5\), and which of them .* is not clear"):
        look(Views(RETURNS["features first"]), data, classes=None)


def test_what_is_not_clear_is_refused(data: ImageSet) -> None:
    unclear: dict[str, Callable[[Tensor, Tensor], Any]] = {
        r"a tuple of \(8, 5\), \(8, 5\), and which of them": lambda logits, features: (logits, 2 * logits),
        r"a NoneType, not logits": lambda logits, features: None,
        r"a tensor of shape \(8, 6, 4, 4\), not logits": lambda logits, features: features.view(-1, 6, 4, 4),
        r"a dict of 'loss' \(\), not logits": lambda logits, features: {"loss": logits.sum()},
    }
    for says, how in unclear.items():
        with pytest.raises(UsageError, match=f"the teacher returns {says}"):
            look(Views(how), data)


def test_probabilities_are_recognised_and_their_logarithm_taken(data: ImageSet) -> None:
    plain = seeded(Views).eval()
    with torch.no_grad():
        expected = plain(normalised(data)).double().log_softmax(1)
    for how in (lambda logits, _: logits.softmax(1), lambda logits, f: {"features": f, "p": logits.softmax(1)}):
        model = seeded(lambda how=how: Views(how)).eval()
        way = look(model, data)
        assert way.evaluated.probabilities
        assert "probabilities (rows that sum to one), of which the logarithm is taken" in way.guess
        torch.testing.assert_close(asked(model, data, way), expected, rtol=1e-4, atol=1e-5)
    sure = look(Views(lambda logits, _: (1e6 * logits).softmax(1)), data)  # zeros have a logarithm that is finite
    assert sure.evaluated.logits(torch.tensor([[1.0, 0.0]])).isfinite().all()


def test_probabilities_in_half_precision_are_probabilities(data: ImageSet) -> None:
    """Of 200 classes, whose rounded numbers miss a sum of one; rounded ones in float32 too."""
    for dtype in (torch.bfloat16, torch.float16):
        for back in (dtype, torch.float32):

            def how(logits: Tensor, _: Tensor, dtype: torch.dtype = dtype, back: torch.dtype = back) -> Tensor:
                return (3 * logits).repeat(1, 40).softmax(1).to(dtype).to(back)

            model = seeded(lambda how=how: Views(how)).eval()
            with torch.no_grad():
                error = (model(normalised(data)).double().sum(1) - 1).abs().max()
            assert look(model, data, classes=200).evaluated.probabilities, (dtype, back, error)
            assert dtype is torch.float16 or error > 1e-3


def test_sigmoids_are_said_and_one_number_is_no_logits(data: ImageSet) -> None:
    for how in (lambda logits, _: logits.sigmoid(), lambda logits, _: logits.sigmoid().bfloat16()):
        way = look(seeded(lambda how=how: Views(how)), data)
        assert not way.evaluated.probabilities
        assert "teacher: WARNING: all that it returns lies from 0 to 1" in way.guess
    assert look(Views(lambda logits, _: 0 * logits), data).guess == ""
    with pytest.raises(UsageError, match="teacher returns one number for each image, not logits of two classes"):
        look(Views(lambda logits, _: logits[:, :1]), data)


def test_a_network_that_is_random_in_evaluation_mode_is_refused(data: ImageSet) -> None:
    def dropped(share: float) -> nn.Module:
        return seeded(lambda: Views(lambda logits, _: nn.functional.dropout(logits, share, training=True)))

    def shaken(size: float) -> nn.Module:
        return seeded(lambda: Views(lambda logits, _: logits + size * logits.abs().max() * torch.randn_like(logits)))

    scaled = seeded(lambda: Views(lambda logits, _: logits * torch.rand(())))  # of a batch as a whole
    for network in (dropped(0.5), dropped(0.1), shaken(0.01), scaled):
        with pytest.raises(UsageError, match="teacher gives another answer each time for the same images") as error:
            look(network, data)
        assert "\n" not in str(error.value)
    before = torch.random.get_rng_state()
    assert look(shaken(1e-6), data).guess == ""  # as kernels do that add up in another order
    assert "gives another answer each time" in look(dropped(0.5), data, training=True).guess
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_network_whose_answer_depends_on_other_images_is_warned_of(data: ImageSet) -> None:
    """By the mean of a batch, and by batch norm without running statistics."""

    def centred() -> nn.Module:
        return seeded(lambda: Views(lambda logits, _: logits - logits.mean(0)))

    def unkept() -> nn.Module:
        network = seeded(
            lambda: nn.Sequential(
                nn.Flatten(), nn.LazyLinear(CLASSES), nn.BatchNorm1d(CLASSES, track_running_stats=False)
            )
        )
        network(torch.zeros(2, 3, 8, 8))
        return network

    for network in (centred(), unkept()):
        for training in (False, True):
            assert (
                "WARNING: its answer to an image depends on the other images"
                in look(network, data, training=training).guess
            )
    assert look(seeded(lambda: Views(lambda logits, _: logits)), data).guess == ""


def test_a_network_that_evaluation_mode_does_not_reach_is_refused(data: ImageSet) -> None:
    class Stays(Views):
        def eval(self) -> Stays:
            return self

    with pytest.raises(UsageError, match=r"eval\(\) of the teacher leaves Linear 'last' in"):
        look(Stays().train(), data)
    assert look(nn.Module.eval(Stays()), data) == Interface(channels_last=False)


def test_what_is_no_probabilities_is_not_taken_for_them(data: ImageSet) -> None:
    others: list[Callable[[Tensor, Tensor], Any]] = [
        lambda logits, _: logits,
        lambda logits, _: logits.log_softmax(1),
        lambda logits, _: logits.sigmoid(),
        lambda logits, _: logits - logits.mean(1, keepdim=True) + 1 / CLASSES,  # sums to one, and is negative too
        lambda logits, _: 2 * logits.softmax(1),
    ]
    assert not any(look(seeded(lambda how=how: Views(how)), data).evaluated.probabilities for how in others)


class Modes(Views):
    """As inception networks are: an auxiliary head in training, and probabilities only outside of it."""

    def forward(self, images: Tensor) -> Any:
        logits = super().forward(images)
        return Pair(logits, 2 * logits) if self.training else logits.softmax(1)


def test_each_mode_has_an_answer_of_its_own(data: ImageSet) -> None:
    model = Modes()
    way = look(model, data, training=True)
    assert (way.evaluated.probabilities, way.trained.probabilities, way.trained.path) == (True, False, ("logits",))
    logits = torch.randn(3, CLASSES)
    assert torch.equal(way.logits(Pair(logits, 0), training=True), logits)
    torch.testing.assert_close(way.logits(logits.softmax(1)), logits.log_softmax(1))
    assert model.norm.num_batches_tracked == 0


def test_a_network_that_does_not_run_on_the_images_says_so(data: ImageSet, capfd: pytest.CaptureFixture[str]) -> None:
    small = ImageSet.from_tensors(data.images[:, :, :6, :6].contiguous(), data.labels, mean=data.mean, std=data.std)
    with pytest.raises(UsageError, match=r"teacher failed on images of shape \(3, 6, 6\), do they have the size"):
        look(Views(), small)
    assert capfd.readouterr() == ("", "")


def test_one_image_less_where_memory_is_short(data: ImageSet) -> None:
    class Large(Views):
        def forward(self, images: Tensor) -> Any:
            if len(images) > 1:
                raise torch.cuda.OutOfMemoryError("out of memory")
            return super().forward(images)

    assert look(Large(), data) == Interface(channels_last=False)


def test_channels_are_told_by_the_first_layer() -> None:
    assert input_channels(nn.Sequential(nn.Conv2d(1, 6, 5), nn.Conv2d(6, 3, 1)), 28) == 1
    assert input_channels(Views(), 8) == 3
    assert input_channels(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), 28) == 1
    assert input_channels(nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)), 32) == 3
    assert input_channels(nn.Sequential(nn.Flatten(), nn.Linear(10, 10)), 32) is None
    assert input_channels(nn.Flatten(), 32) is None
