"""Files with several sets of weights: which one is taken, what is said of the others, and how another is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from dametric.base.files import sha256
from dametric.errors import UsageError
from dametric.models import Checkpoint, build, load_checkpoint

State = dict[str, Tensor]


def network(seed: int, arch: str = "resnet8") -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(arch, 10)


@pytest.fixture(scope="module")
def one() -> State:
    return network(0).state_dict()


@pytest.fixture(scope="module")
def other() -> State:
    return network(1).state_dict()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "t.pth"


def same(loaded: Checkpoint, state: State) -> bool:
    own = loaded.model.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[name], state[name]) for name in state)


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        load_checkpoint(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_of_teacher_and_student_gives_the_one_that_is_asked_for(file: Path, one: State, other: State) -> None:
    nested = {"model": {"student": one, "teacher": other}, "epoch": 3}
    for content in (
        {"student": one, "teacher": other},
        nested,
        prefixed(one, "student.") | prefixed(other, "teacher."),
    ):
        torch.save(content, file)
        assert same(load_checkpoint(file, role="teacher"), other)
        assert same(load_checkpoint(file, role="student"), one)
        for key, state in (("student", one), ("teacher", other)):
            assert same(load_checkpoint(file, weights=key), state)
        line = refusal(file)
        assert "student" in line.removeprefix(str(file))
        assert "teacher" in line.removeprefix(str(file))
        assert "say which with weights=" in line


def test_any_words_with_a_role_in_them_say_whose_weights_they_are(file: Path, one: State) -> None:
    """A teacher with more than twice the tensors of its student, which used to be read for both."""
    large = network(2, "resnet20").state_dict()
    torch.save({"student_state_dict": one, "teacher_state_dict": large, "epoch": 3}, file)
    assert same(load_checkpoint(file, role="student"), one)
    assert same(load_checkpoint(file, role="teacher"), large)
    assert "teacher_state_dict" in refusal(file)


def test_hashes_tell_the_networks_of_one_file_apart(file: Path, one: State, other: State) -> None:
    """A run is named by its teacher's hash: two teachers of one file would be taken for one."""
    torch.save({"model": one, "model_ema": other}, file)
    assert load_checkpoint(file).sha256 == sha256(file), "what was read before there was a choice keeps its hash"
    assert load_checkpoint(file, weights="model").sha256 == sha256(file)
    assert load_checkpoint(file, weights="model_ema").sha256 != sha256(file)
    torch.save({"student": one, "teacher": other}, file)
    hashes = {load_checkpoint(file, role=role).sha256 for role in ("teacher", "student")}  # type: ignore[arg-type]
    assert len(hashes) == 2
    torch.save(prefixed(one, "student.") | prefixed(other, "teacher."), file)
    hashes = {load_checkpoint(file, role=role).sha256 for role in ("teacher", "student")}  # type: ignore[arg-type]
    assert len(hashes) == 2


def test_a_moving_average_is_named_and_taken_when_asked_for(file: Path, one: State, other: State) -> None:
    optimiser = torch.optim.SGD(network(0).parameters(), lr=0.1, momentum=0.9)
    for main, average, content in (
        ("state_dict", "state_dict_ema", {"state_dict": one, "state_dict_ema": other}),
        ("model", "model_ema", {"model": one, "model_ema": other, "optimizer": optimiser.state_dict()}),
        ("model", "ema", {"epoch": 1, "model": one, "ema": prefixed(other, "module.")}),
        ("state_dict", "callbacks/EMA", {"state_dict": one, "callbacks": {"EMA": other}}),
    ):
        torch.save(content, file)
        loaded = load_checkpoint(file)
        assert same(loaded, one)
        assert f"read '{main}' of t.pth" in loaded.notes
        (said,) = (note for note in loaded.notes if note.startswith("not taken"))
        assert f"'{average}' (a moving average, {len(other)} tensors)" in said
        assert f"weights='{average}'" in said
        assert same(load_checkpoint(file, weights=average), other)
        assert f"read '{average}' of t.pth" in load_checkpoint(file, weights=average).notes
    torch.save({"ema": other, "epoch": 1}, file)
    assert same(load_checkpoint(file), other), "the only weights there are"


def test_weights_under_any_other_key_are_read_if_they_are_the_only_ones(file: Path, one: State, other: State) -> None:
    torch.save({"best_acc1": torch.tensor(81.5), "network": one, "optimizer": {"momentum": other}}, file)
    loaded = load_checkpoint(file)
    assert same(loaded, one)
    assert loaded.notes[0] == "read 'network' of t.pth"
    assert loaded.extra == {"best_acc1": 81.5}
    torch.save({"first": one, "second": other}, file)
    line = refusal(file)
    assert f"'first' ({len(one)} tensors), 'second' ({len(other)} tensors)" in line
    line = refusal(file, weights="third")
    assert f"no weights 'third', only 'first' ({len(one)} tensors)" in line
    torch.save({"a": {"w": one}, "b": {"w": other}}, file)
    assert "'a/w'" in refusal(file, weights="w")
    assert same(load_checkpoint(file, weights="b/w"), other)


def test_any_prefix_is_stripped_where_that_alone_makes_it_fit(file: Path, one: State) -> None:
    lightning = {"train_acc.correct": torch.tensor(3), "criterion.weight": torch.ones(10), "ema_loss": torch.ones(())}
    for prefix, beside in (
        ("net.", {}),
        ("backbone.", {}),
        ("module.student.", {}),
        ("module.", {"n_averaged": torch.tensor(5)}),
        ("model.", lightning),
        ("net.", {"projector.weight": torch.zeros(4, 64)}),
    ):
        for arch in (None, "resnet8"):
            torch.save(prefixed(one, prefix) | beside, file)
            loaded = load_checkpoint(file, arch=arch)
            assert same(loaded, one)
            said = "; ".join(loaded.notes)
            assert f"stripped prefix '{prefix}'" in said
            assert all(name in said for name in beside), said
            assert loaded.sha256 == sha256(file)


def test_the_averaged_model_of_torch_is_read(file: Path) -> None:
    module = network(3)
    averaged = AveragedModel(nn.DataParallel(module))
    torch.save(averaged.state_dict(), file)
    loaded = load_checkpoint(file)
    assert same(loaded, module.state_dict())
    assert "1 tensors are no part of it and left out: n_averaged" in loaded.notes


def test_a_prefix_is_not_stripped_where_it_does_not_make_all_fit(file: Path, one: State, other: State) -> None:
    broken = prefixed({name: tensor for name, tensor in one.items() if name != "fc.bias"}, "net.")
    torch.save(broken | {"head.bias": one["fc.bias"]}, file)
    assert "no known architecture" in refusal(file) or "no name in common" in refusal(file)
    torch.save(prefixed(one, "first.") | prefixed(other, "second."), file)
    for arch in (None, "resnet8"):
        line = refusal(file, arch=arch)
        assert "'first.', 'second.'" in line
        assert str(file) in line
        assert same(load_checkpoint(file, weights="second.", arch=arch), other)
        assert same(load_checkpoint(file, weights="first", arch=arch), one)


def test_a_student_is_not_taken_for_a_teacher_that_fits_nothing(file: Path, one: State) -> None:
    strange = {"teacher.layer.weight": torch.zeros(10, 4), "teacher.layer.bias": torch.zeros(10)}
    torch.save(prefixed(one, "student.") | strange, file)
    assert "pass arch" in refusal(file, role="teacher")
    assert same(load_checkpoint(file, role="student"), one)
    torch.save({"student": one, "teacher": {"layer.weight": torch.zeros(10, 4)}}, file)
    assert f"'student' ({len(one)} tensors)" in refusal(file, role="teacher")
