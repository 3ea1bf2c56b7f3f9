"""Every layout in circulation is read, nothing is run, and what is wrong is said in one line."""

from __future__ import annotations

import argparse
import copy
import io
import json
import os
import pickle
import sys
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from dametric.errors import UsageError
from dametric.models import Checkpoint, build, load_checkpoint, load_state, save_checkpoint
from dametric.models.recognise import _built_in
from tests.loops import each

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return build("resnet8", 10).eval()


@pytest.fixture(scope="module")
def state(net: nn.Module) -> State:
    return net.state_dict()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "misleading_vgg19_name.pth"


def same(loaded: Checkpoint, state: State) -> bool:
    mine = loaded.model.state_dict()
    return set(mine) == set(state) and all(torch.equal(mine[name], state[name]) for name in state)


def prefixed(state: State, prefix: str) -> State:
    return OrderedDict((prefix + name, tensor) for name, tensor in state.items())


def refusal(path: Path | str, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        load_checkpoint(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


# ---- real files


def test_recognises_the_real_teachers(shared: Path) -> None:
    ten = load_checkpoint(shared / "reference/oracle/teacher_resnet20.pth")
    assert (ten.arch, ten.num_classes, len(ten.classes or ())) == ("resnet20", 10, 10)
    assert ten.mean == (0.5071, 0.4867, 0.4408)
    assert ten.std == (0.2675, 0.2565, 0.2761)
    assert ten.extra["accuracy"] == 82.94
    hundred = load_checkpoint(shared / "reference/teachers/resnet20_cifar100.pth")
    assert (hundred.arch, hundred.num_classes, hundred.classes, hundred.mean) == ("resnet20", 100, None, None)


# ---- layouts


@each("container", [None, "model", "state_dict", "model_state_dict", "net", "student"])
@each(
    "prefix", ["", "module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module.", "model.module.model."]
)
def test_layouts_and_prefixes(file: Path, state: State, container: str | None, prefix: str) -> None:
    weights = prefixed(state, prefix)
    torch.save(weights if container is None else {"epoch": 3, container: weights, "optimizer": {"state": {}}}, file)
    loaded = load_checkpoint(file)
    assert same(loaded, state)
    assert (loaded.arch, loaded.num_classes, loaded.image_size) == ("resnet8", 10, None)
    said = "; ".join(loaded.notes)
    assert "resnet8 (recognised by names and shapes), 10 classes" in said
    assert (f"'{container}'" if container else "bare weights") in said
    assert (f"stripped prefix '{prefix}'" in said) == bool(prefix)
    assert not loaded.model.training
    assert len(loaded.sha256) == 64


@pytest.mark.parametrize("prefix", ["", "module."])
def test_safetensors_by_content(file: Path, state: State, prefix: str) -> None:
    file.write_bytes(safetensors.torch.save(prefixed(state, prefix)))
    assert same(load_checkpoint(file), state)


def test_containers_in_containers(file: Path, state: State) -> None:
    torch.save({"model": {"state_dict": prefixed(state, "module.")}, "net": {}}, file)
    loaded = load_checkpoint(file)
    assert same(loaded, state)
    assert "read 'model/state_dict' of" in loaded.notes[0]
    torch.save({"model": {}, "net": state}, file)
    assert same(load_checkpoint(file), state)


def test_old_file_formats(file: Path, state: State) -> None:
    torch.save({"net": state}, file, _use_new_zipfile_serialization=False)
    assert same(load_checkpoint(file), state)
    older = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    torch.save(older, file)
    assert same(load_checkpoint(file), state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", ["torch", "safetensors"])
def test_other_precisions_become_float32(file: Path, state: State, dtype: torch.dtype, kind: str) -> None:
    weights = {name: t.to(dtype) if t.is_floating_point() else t for name, t in state.items()}
    if kind == "torch":
        torch.save(weights, file)
    else:
        file.write_bytes(safetensors.torch.save(weights))
    loaded = load_checkpoint(file)
    assert same(loaded, {name: t.float() if t.is_floating_point() else t for name, t in weights.items()})
    assert any(f"converted {str(dtype).split('.')[1]} to float32" in note for note in loaded.notes)


def test_numpy_numbers_and_options_beside_the_weights(file: Path, state: State) -> None:
    beside = {
        "best_acc": np.float64(72.5),
        "epoch": np.int64(240),
        "half": np.float16(0.5),
        "swapped": np.array(1.5, ">f4")[()],
        "done": np.bool_(True),
        "opt": argparse.Namespace(lr=0.1, values=[1, 2], nested=argparse.Namespace(a=np.float32(1))),
    }
    allowed = set(torch.serialization.get_safe_globals())
    for name in ("numpy.core.multiarray", "numpy._core.multiarray"):  # numpy 1 and 2 write different names
        for zipped in (True, False):
            buffer = io.BytesIO()
            torch.save({"model": state, **beside}, buffer, _use_new_zipfile_serialization=zipped)
            file.write_bytes(renamed(buffer.getvalue(), name, zipped))
            loaded = load_checkpoint(file)
            assert same(loaded, state)
            assert loaded.extra == {"best_acc": 72.5, "epoch": 240, "half": 0.5, "swapped": 1.5, "done": True}
    assert set(torch.serialization.get_safe_globals()) == allowed


def renamed(content: bytes, module: str, zipped: bool) -> bytes:
    """The file as a numpy that calls its module so would have written it."""

    def swap(text: bytes) -> bytes:
        for name in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
            text = text.replace(b"c" + name + b"\nscalar", b"c" + module.encode() + b"\nscalar")
        return text

    if not zipped:
        return swap(content)
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as new:
        for entry in old.namelist():
            new.writestr(entry, swap(old.read(entry)) if entry.endswith(".pkl") else old.read(entry))
    return buffer.getvalue()


# ---- which architecture


@each("arch", list(_built_in()))
def test_recognises_every_architecture(file: Path, arch: str) -> None:
    shapes = _built_in()[arch]
    weights = {
        name: torch.zeros(()).expand([13 if name in shapes.head and i == 0 else n for i, n in enumerate(shape)])
        for name, shape in shapes.shapes.items()
    }
    torch.save(prefixed(weights, "module."), file)
    loaded = load_checkpoint(file)
    assert (loaded.arch, loaded.num_classes) == (arch, 13)


def test_vgg_is_built_for_the_image_size_asked_for(file: Path) -> None:
    torch.save(build("vgg8", 5).state_dict(), file)
    assert load_checkpoint(file).model.poolings == 3
    loaded = load_checkpoint(file, image_size=64)
    assert (loaded.model.poolings, loaded.image_size) == (4, 64)


def test_prefix_that_belongs_to_the_network_stays(file: Path, tmp_path: Path) -> None:
    nets = tmp_path / "nets.py"
    nets.write_text(
        "from torch import nn\nclass Net(nn.Module):\n"
        "    def __init__(self, num_classes):\n        super().__init__()\n"
        "        self.model = nn.Sequential(nn.Flatten(), nn.Linear(12, num_classes))\n"
        "    def forward(self, x):\n        return self.model(x)\n"
    )
    arch = f"{nets}:Net"
    state = build(arch, 4).state_dict()
    for prefix in ("", "module.", "model."):
        torch.save(prefixed(state, prefix), file)
        loaded = load_checkpoint(file, arch=arch)
        assert same(loaded, state)
        assert loaded.num_classes == 4
        assert any(f"stripped prefix '{prefix}'" in note for note in loaded.notes) == bool(prefix)


@pytest.mark.parametrize("kind", ["torch", "safetensors"])
def test_class_count_of_library_models(file: Path, kind: str) -> None:
    state = build("torchvision:squeezenet1_1", 6).state_dict()  # ends in a convolution, not a matrix
    if kind == "torch":
        torch.save({"state_dict": state}, file)
    else:
        file.write_bytes(safetensors.torch.save(state))
    loaded = load_checkpoint(file, arch="torchvision:squeezenet1_1")
    assert same(loaded, state)
    assert loaded.num_classes == 6
    assert "6 classes, not 7" in refusal(file, arch="torchvision:squeezenet1_1", num_classes=7)


def test_class_count_where_the_last_layer_cannot_be_told(file: Path, tmp_path: Path) -> None:
    nets = tmp_path / "nets.py"
    nets.write_text(
        "import torch\nfrom torch import nn\ndef net(num_classes):\n    width = int(torch.ones(2).sum().item())\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(12, width), nn.Linear(width, num_classes))\n"
        "def fixed(num_classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3))\n"
        "def bare(num_classes):\n    return nn.Conv2d(3, 2, 1)\n"
    )
    torch.save(build(f"{nets}:net", 5).state_dict(), file)
    assert load_checkpoint(file, arch=f"{nets}:net").num_classes == 5
    assert load_checkpoint(file, arch=f"{nets}:net", num_classes=5).num_classes == 5
    assert "do not fit" in refusal(file, arch=f"{nets}:net", num_classes=6)
    torch.save(build(f"{nets}:fixed", 5).state_dict(), file)
    assert load_checkpoint(file, arch=f"{nets}:fixed").num_classes == 3
    torch.save(build(f"{nets}:bare", 5).state_dict(), file)
    assert "cannot be told" in refusal(file, arch=f"{nets}:bare")


def test_loading_leaves_the_random_state_alone(file: Path, state: State) -> None:
    torch.save(state, file)
    before = torch.get_rng_state()
    load_checkpoint(file)
    assert torch.equal(before, torch.get_rng_state())


# ---- what does not fit


def test_no_architecture_fits(file: Path, state: State) -> None:
    torch.save({name: t for name, t in state.items() if name != "layer2.0.bn1.bias"}, file)
    message = refusal(file)
    assert "nearest is resnet8" in message
    assert "'layer2.0.bn1.bias' is missing" in message
    assert "arch" in message
    torch.save({**state, "layer1.0.conv1.weight": torch.zeros(8, 16, 3, 3)}, file)
    assert "'layer1.0.conv1.weight' has shape (8, 16, 3, 3) instead of (16, 16, 3, 3)" in refusal(file)
    torch.save({**state, "fc.weight": torch.zeros(10, 32)}, file)
    assert "'fc.weight' has shape (10, 32) instead of (classes, 64)" in refusal(file)
    torch.save({**state, "more": torch.zeros(2)}, file)
    assert "'more' is unexpected" in refusal(file)
    torch.save({**state, "fc.bias": torch.zeros(11)}, file)
    assert "disagree on the classes" in refusal(file)
    torch.save({"alpha": torch.zeros(2)}, file)
    assert "no name in common" in refusal(file)


def test_given_architecture_does_not_fit(file: Path, state: State) -> None:
    torch.save(state, file)
    message = refusal(file, arch="resnet14")
    assert "do not fit resnet14: 36 missing" not in message  # the counters of old norms are no fault
    assert "missing: layer1.1.conv1.weight, layer1.1.bn1.weight, layer1.1.bn1.bias, ..." in message
    assert "of another shape: conv1.weight (16, 3, 3, 3) instead of (32, 3, 3, 3), bn1.weight" in refusal(
        file, arch="resnet8x4"
    )
    assert "56 unexpected: conv1.weight, bn1.weight" in refusal(file, arch="vgg8")
    assert "are for 10 classes, not 100" in refusal(file, num_classes=100)
    assert load_checkpoint(file, num_classes=10).num_classes == 10
    torch.save({**state, "fc.bias": torch.zeros(11)}, file)
    assert "fc.bias (11,) instead of (10,)" in refusal(file, arch="resnet8")
    for arch, says in (("resnet9", "did you mean"), ("torchvision:nothing", "torchvision"), ("./no.py:f", "no file")):
        with pytest.raises(UsageError, match=says):
            load_checkpoint(file, arch=arch)


# ---- bad files


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "there is no checkpoint" in refusal(tmp_path / "absent.pth")
    assert "is a folder" in refusal(tmp_path)
    empty = tmp_path / "empty.pth"
    empty.touch()
    assert "is empty" in refusal(empty)
    if os.geteuid() == 0:  # root may read everything, so the refusal is played
        monkeypatch.setattr(
            "builtins.open", lambda *a, **k: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
        )
    else:
        empty.write_bytes(b"x")
        empty.chmod(0)
    assert "cannot read" in refusal(empty)


@each("keep", [0.001, 0.3, 0.7, 0.999])
@each("kind", ["zip", "legacy", "safetensors"])
def test_truncated_files(file: Path, state: State, kind: str, keep: float) -> None:
    if kind == "safetensors":
        file.write_bytes(safetensors.torch.save(state))
    else:
        torch.save(state, file, _use_new_zipfile_serialization=kind == "zip")
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep)])
    assert "truncated" in refusal(file)


@each(
    "content",
    [
        b"hello",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        bytes(1000),
        b"\x80\x04\x95" + bytes(20),
        b"{}",
        b"[1, 2]",
        os.urandom(5000),
    ],
)
@each("name", ["a.pth", "a.safetensors", "a.txt"])
def test_files_of_another_kind(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert "not a" in refusal(tmp_path / name)


def test_archives_that_are_no_checkpoints(file: Path, state: State) -> None:
    with open(file, "wb") as handle:
        np.savez(handle, a=np.zeros(3))
    assert "no checkpoint" in refusal(file)
    torch.save(state, file)
    content = bytearray(file.read_bytes())
    content[100:400] = bytes(300)
    file.write_bytes(content)
    assert "damaged" in refusal(file)


@each("content", [3, [1, 2], {}, {"epoch": 3}, {"model": {}}, {"state_dict": {"a": 1}}, torch.zeros(3), "text"])
def test_torch_files_without_weights(file: Path, content: object) -> None:
    torch.save(content, file)
    assert "state_dict()" in refusal(file)


def test_file_that_holds_itself(file: Path) -> None:
    content: dict[str, Any] = {"a": torch.zeros(2)}
    content["model"] = content["net"] = content
    torch.save(content, file)
    assert "no name in common" in refusal(file)


class Bomb:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("exploded").touch, ())


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_and_not_run(
    file: Path, state: State, net: nn.Module, zipped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    for content in ({"model": state, "x": Bomb()}, net, {"model": net}, {"model": state, "o": np.zeros(3)}):
        torch.save(content, file, _use_new_zipfile_serialization=zipped)
        message = refusal(file)
        assert "refused" in message
        assert "would run code" in message
        assert "model.state_dict()" in message
    assert not Path("exploded").exists()
    file.write_bytes(pickle.dumps({"model": Bomb()}, protocol=2))
    refusal(file)
    assert not Path("exploded").exists()


def test_stand_ins_allow_no_other_dtype(file: Path, state: State) -> None:
    for value in (np.datetime64("2020-01-01"), np.str_("word"), np.complex64(1)):
        torch.save({"model": state, "value": value}, file)
        assert "numpy.dtype" in refusal(file)


def test_torchscript_is_refused(file: Path) -> None:
    """An archive with a program in it, which torch would hand to another reader."""
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(1)}, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(file, "w") as new:
        folder = old.namelist()[0].split("/")[0]
        for entry in old.namelist():
            new.writestr(entry, old.read(entry))
        new.writestr(f"{folder}/constants.pkl", b"")
    assert "TorchScript" in refusal(file)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_must_be_finite(file: Path, state: State, value: float) -> None:
    broken = copy.deepcopy(state)
    broken["layer2.0.conv1.weight"][0, 0, 0, 0] = value
    torch.save({"model": broken}, file)
    assert "'layer2.0.conv1.weight' holds NaN or infinite" in refusal(file)


def test_weights_must_be_dense_and_real(file: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch means to drop them; files that hold them will stay
        quantised = torch.quantize_per_tensor(torch.zeros(2, 2), 0.1, 0, torch.qint8)
    for weight in (torch.eye(3).to_sparse(), torch.zeros(2, dtype=torch.complex64), quantised):
        torch.save({"a": weight}, file)
        assert "'a' is a sparse" in refusal(file)


# ---- round trips

ABOUT: dict[str, Any] = {
    "classes": [f"class {i}" for i in range(10)],
    "mean": (0.5, 0.4, 0.3),
    "std": np.array([0.2, 0.25, 0.3]),
    "data": "cifar10",
    "image_size": 32,
    "extra": {"accuracy": np.float64(0.8), "history": [1, 2.5, None], "nested": {"lr": 0.1}},
}


@pytest.mark.parametrize("name", ["new/folder/t.pth", "t.safetensors"])
def test_round_trip(tmp_path: Path, net: nn.Module, state: State, name: str) -> None:
    path = save_checkpoint(tmp_path / name, net, arch="resnet8", **ABOUT)
    assert os.listdir(path.parent) == [path.name]
    loaded = load_checkpoint(path)
    assert same(loaded, state)
    assert (loaded.arch, loaded.num_classes, loaded.image_size, loaded.data) == ("resnet8", 10, 32, "cifar10")
    assert loaded.classes == tuple(ABOUT["classes"])
    assert (loaded.mean, loaded.std) == ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
    assert loaded.extra == {"accuracy": 0.8, "history": [1, 2.5, None], "nested": {"lr": 0.1}}
    assert any("as written in the file" in note for note in loaded.notes)


def test_round_trip_of_the_least(tmp_path: Path, net: nn.Module) -> None:
    loaded = load_checkpoint(save_checkpoint(tmp_path / "t.pth", net, arch="resnet8"))
    assert (loaded.classes, loaded.mean, loaded.std, loaded.data, loaded.image_size, loaded.extra) == (None,) * 5 + (
        {},
    )


@pytest.mark.parametrize("arch", ["torchvision:squeezenet1_1", "vgg8", "timm:resnet10t"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_round_trip_of_other_architectures(tmp_path: Path, arch: str, suffix: str) -> None:
    if arch.startswith("timm"):
        pytest.importorskip("timm")
    model = build(arch, 5, 64)
    path = save_checkpoint(tmp_path / f"t.{suffix}", nn.DataParallel(model), arch=arch, image_size=64)
    loaded = load_checkpoint(path)
    assert same(loaded, model.state_dict())
    assert (loaded.arch, loaded.num_classes, loaded.image_size) == (arch, 5, 64)
    assert any("stripped prefix 'module.'" in note for note in loaded.notes)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_user_code_is_not_imported_on_a_files_word(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "nets_that_mark", raising=False)
    Path("nets_that_mark.py").write_text(
        "import pathlib\nfrom torch import nn\npathlib.Path('ran').touch()\n"
        "def net(num_classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(12, num_classes))\n"
    )
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    for arch in ("./nets_that_mark.py:net", "nets_that_mark:net"):
        path = save_checkpoint(tmp_path / f"t.{suffix}", model, arch=arch, classes="abcd")
        assert "arch" in refusal(path)
        assert not Path("ran").exists()
    loaded = load_checkpoint(path, arch=arch)
    assert Path("ran").exists()
    assert loaded.classes == ("a", "b", "c", "d")


def test_saving_is_independent_of_storage_and_mode(tmp_path: Path) -> None:
    """Views are not written with the storage behind them, and weights in common survive safetensors."""
    big = torch.zeros(1000, 1000)
    model = nn.Linear(4, 4)
    model.weight.data = big[:4, :4]
    small = save_checkpoint(tmp_path / "a.pth", model, arch="x")
    assert small.stat().st_size < 10_000
    tied = nn.Sequential(model, model)
    assert safetensors.torch.load_file(save_checkpoint(tmp_path / "a.safetensors", tied, arch="x"))


def test_extra_must_be_plain(tmp_path: Path, net: nn.Module) -> None:
    with pytest.raises(UsageError, match=r"extra\['a'\]\[1\] is a object"):
        save_checkpoint(tmp_path / "t.pth", net, arch="resnet8", extra={"a": [1, object()]})
    assert not list(tmp_path.iterdir())


def test_descriptions_that_make_no_sense_are_left_out(file: Path, state: State) -> None:
    torch.save({"net": state, "classes": ["a"], "mean": "grey", "std": (0.1, 0, 0.1), "data": "x", "arch": 3}, file)
    loaded = load_checkpoint(file)
    assert (loaded.classes, loaded.mean, loaded.std, loaded.data) == (None, None, None, None)


def test_formats_of_the_future_and_damaged_headers(file: Path, state: State) -> None:
    torch.save({"dametric": 2, "model": state}, file)
    assert "format 2" in refusal(file)
    for header in ("{", "3", json.dumps({"dametric": 9})):
        file.write_bytes(safetensors.torch.save(state, {"dametric": header}))
        refusal(file)


def test_asking_for_another_architecture_than_written(tmp_path: Path, net: nn.Module, state: State) -> None:
    path = save_checkpoint(tmp_path / "t.pth", net, arch="resnet9")
    with pytest.raises(UsageError, match="did you mean"):
        load_checkpoint(path)
    loaded = load_checkpoint(path, arch="resnet8")
    assert same(loaded, state)
    assert "the file says resnet9" in loaded.notes


def test_a_flipped_bit_is_noticed_before_training_goes_on_from_it(tmp_path: Path) -> None:
    model = build("resnet8", 10, 32)
    path = save_checkpoint(tmp_path / "last.pt", model, arch="resnet8", image_size=32, state={"step": torch.ones(1000)})
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        places = [info.header_offset + 200 for info in archive.infolist() if info.file_size > 1000]
    assert len(places) > 10
    for place in places:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(UsageError, match=r"the file is damaged, .* remove its folder to start over"):
            load_state(path, model)
    path.write_bytes(content)
    state = load_state(path, model)
    assert state is not None
    assert torch.equal(state["step"], torch.ones(1000))


def test_a_flipped_bit_in_anybodys_weights_is_noticed(file: Path, state: State) -> None:
    torch.save(state, file)
    content = file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        weights = next(i for i in archive.infolist() if "/data/" in i.filename and i.file_size > 1000)
        place = weights.header_offset + 200
    file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    torch.load(file, weights_only=True)  # which notices nothing
    assert "is damaged, the checksum of" in refusal(file)


CAFFE = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])


@pytest.mark.parametrize(
    ("mean", "std", "expected", "says"),
    [
        (*CAFFE, ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), "taken for pixel values 0..255"),
        (CAFFE[0], [1.0, 1.0, 1.0], ((0.485, 0.456, 0.406), (1 / 255,) * 3), "taken for pixel values 0..255"),
        ([0.0] * 3, [255.0] * 3, ((0.0,) * 3, (1.0,) * 3), "taken for pixel values 0..255"),
        ([0.5] * 3, [58.0] * 3, (None, None), "cannot be told and are not used: give mean and std in 0..1"),
        ([1000.0] * 3, [1.0] * 3, (None, None), "cannot be told and are not used: give mean and std in 0..1"),
        ([0.0] * 3, [1.0] * 3, ((0.0,) * 3, (1.0,) * 3), None),
        ([0.5, 0.4, 1.2], [1.5, 0.2, 0.2], ((0.5, 0.4, 1.2), (1.5, 0.2, 0.2)), None),
    ],
)
def test_a_normalisation_of_bytes_is_recognised_or_not_used_and_said(
    tmp_path: Path, mean: list[float], std: list[float], expected: tuple[Any, Any], says: str | None
) -> None:
    path = tmp_path / "foreign.pth"
    torch.save({"state_dict": build("resnet8", 10, 32).state_dict(), "mean": mean, "std": torch.tensor(std)}, path)
    loaded = load_checkpoint(path)
    for found, wanted in zip((loaded.mean, loaded.std), expected, strict=True):
        assert found == (None if wanted is None else pytest.approx(wanted, rel=1e-6))
    said = [note for note in loaded.notes if "mean" in note]
    assert len(said) == (says is not None)
    assert says is None or says in said[0]
