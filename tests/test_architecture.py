"""The house rules: who may import whom, what stays light, what carries a docstring, what is never unpickled."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
import traceback
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "dametric"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
# Rooms that anybody may use.
COMMON = {"base", "errors"}
# Every room, and the other rooms it may import from besides the common ones.
ALLOWED = {
    "augment": {"data", "models"},
    "data": {"augment", "models"},
    "models": {"augment", "data"},
    "metrics": set(),
    "records": set(),
    "scoring": {"augment", "data", "models", "metrics", "records"},
    "jobs": {"models"},
    "training": {"augment", "data", "models", "records", "jobs"},
    "sweeps": {"augment", "data", "models", "training", "records", "jobs", "scoring"},
    "choosing": {"augment", "data", "models", "metrics", "scoring", "training", "sweeps", "records", "jobs", "stats"},
    "pictures": {"augment", "data", "reports"},
    "stats": set(),
    "analysis": {"records", "stats", "metrics"},
    "reports": {"records", "stats", "analysis"},
}
HEAVY = {"torch", "torchvision", "numpy", "pandas", "matplotlib", "sklearn", "scipy", "pyarrow", "PIL", "rich", "yaml"}


def room(module: str) -> str:
    """The first part of a module's name below the package; empty for the package itself."""
    return module.split(".")[1] if "." in module else ""


def names(module: str, tree: ast.AST) -> set[str]:
    """Modules that the imports below ``tree`` name, with members that are modules themselves."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".") if MODULES[module].name == "__init__.py" else module.split(".")[:-1]
                base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [base])])
            found.add(base)
            found |= {f"{base}.{alias.name}" for alias in node.names if f"{base}.{alias.name}" in MODULES}
    return found


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@cache
def imports(module: str) -> frozenset[str]:
    """Everything a module imports, inside functions too."""
    return frozenset(names(module, tree_of(module)))


def top_level_imports(module: str) -> set[str]:
    """What runs when the module is imported: not the bodies of functions, not ``if TYPE_CHECKING``."""

    def strip(body: list[ast.stmt]) -> list[ast.stmt]:
        kept = []
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                node.body = []
            if isinstance(node, ast.ClassDef):
                node.body = strip(node.body)
            kept.append(node)
        return kept

    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    tree.body = strip(tree.body)
    return names(module, tree)


def reached(module: str) -> set[str]:
    """All modules, foreign ones too, that a module can come to import by any chain; lazy names of the package do
    not count, since nothing inside it uses them."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        here = waiting.pop()
        if here in seen:
            continue
        seen.add(here)
        if here in MODULES and here != "dametric":
            waiting += imports(here)
    return seen


def foreign(module: str) -> set[str]:
    return {name.split(".")[0] for name in reached(module)} - {"dametric"}


def in_rooms(*rooms: str) -> list[str]:
    return [module for module in MODULES if room(module) in rooms]


def test_every_room_has_a_rule() -> None:
    rooms = {room(module) for module in MODULES} - {""}
    assert rooms <= COMMON | ALLOWED.keys() | {"cli", "__main__"}, "a new room: say who may import whom"


def test_a_module_imports_only_from_the_rooms_it_may() -> None:
    for module in in_rooms(*ALLOWED):
        used = {room(name) for name in imports(module) if name.startswith("dametric.")}
        assert used <= ALLOWED[room(module)] | COMMON | {room(module)}, module


def test_common_modules_know_nothing_but_each_other() -> None:
    for module in in_rooms(*COMMON):
        assert {room(name) for name in imports(module) if name.startswith("dametric.")} <= COMMON, module


def test_torchvision_is_loaded_where_it_is_used() -> None:
    """It loads torch's compiler, which takes as long as the rest of a command's start."""
    for module in MODULES:
        assert "torchvision" not in {name.split(".")[0] for name in top_level_imports(module)}, module


def test_ground_truth_and_inputs_do_not_depend_on_the_score_by_any_chain() -> None:
    for module in in_rooms("augment", "data", "models", "training"):
        assert not {room(name) for name in reached(module) if name in MODULES} & {"metrics", "scoring"}, module


def test_metrics_know_tensors_only() -> None:
    for module in in_rooms("metrics"):
        known = {"torch", "dametric"} | sys.stdlib_module_names
        assert {name.split(".")[0] for name in imports(module)} <= known, module


def test_statistics_reports_and_results_never_reach_torch() -> None:
    for module in in_rooms("stats", "records"):
        assert not foreign(module) & {"torch", "torchvision"}, module


def test_an_analysis_of_score_files_and_its_report_do_not_load_torch() -> None:
    """Only the directions of a foreign table's metrics are looked up among the metrics, which are torch's."""
    code = "import dametric; dametric.report(dametric.correlate(published=True, resamples=9), quiet=True)"
    assert "torch" not in loaded_after(code)
    users = {
        module for module in in_rooms("analysis", "reports") if any("dametric.metrics" in n for n in imports(module))
    }
    assert users == {"dametric.analysis.foreign_table"}


def test_only_the_command_line_imports_the_command_line() -> None:
    users = {m for m in MODULES if any(room(name) == "cli" for name in imports(m) if "dametric." in name)}
    assert {room(module) for module in users} <= {"cli", "__main__"}


def test_nothing_in_the_package_uses_experiments_analysis_or_tests() -> None:
    for module in MODULES:
        assert not {name.split(".")[0] for name in imports(module)} & {"experiments", "analysis", "tests"}, module


def test_the_command_line_imports_heavy_things_only_inside_functions() -> None:
    for module in in_rooms("cli"):
        used = top_level_imports(module)
        assert not {name.split(".")[0] for name in used} & (HEAVY - {"rich"}), module
        assert {room(name) for name in used if name.startswith("dametric")} <= {"", "base", "errors", "cli"}, module


def loaded_after(code: str) -> set[str]:
    """Top-level names in ``sys.modules`` after running ``code`` in a fresh interpreter."""
    command = f"{code}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_but_the_standard_library() -> None:
    before = loaded_after("pass")
    assert loaded_after("import dametric") - before - sys.stdlib_module_names == {"dametric"}


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    assert not loaded_after("import dametric.cli") & (HEAVY - {"rich"})


def test_results_and_figures_do_not_load_torch() -> None:
    assert "torch" not in loaded_after("import dametric.records.scores, dametric.reports.figures")


def test_public_names_of_the_package_can_be_had_and_unknown_ones_are_attribute_errors() -> None:
    import dametric

    for name in dametric.__all__:
        assert getattr(dametric, name) is not None
    assert set(dametric.__all__) <= set(dir(dametric))
    with pytest.raises(AttributeError, match="no attribute 'scores'"):
        _ = dametric.scores


def test_public_names_have_docstrings() -> None:
    for module in (m for m, path in MODULES.items() if path.name == "__init__.py"):
        package = importlib.import_module(module)
        assert inspect.getdoc(package), f"{module} does not say what it is for"
        for name in getattr(package, "__all__", ()):
            thing = getattr(package, name)
            if inspect.isfunction(thing) or inspect.isclass(thing):
                own = thing.__doc__ or ""
                assert own.strip(), f"{module}.{name} has no docstring"
                assert not own.startswith(f"{name}("), f"{module}.{name} has only the one that dataclass made"


def test_every_module_says_what_it_is_for() -> None:
    for module in MODULES:
        assert ast.get_docstring(tree_of(module)), module


def test_no_file_is_unpickled_with_its_code() -> None:
    for folder in ("dametric", "experiments", "analysis"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            check_that_nothing_is_unpickled(path)


def check_that_nothing_is_unpickled(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        assert called not in ("pickle.load", "pickle.loads", "joblib.load", "dill.load", "dill.loads"), (
            f"{path}:{node.lineno}"
        )
        if called in ("torch.load", "torch.hub.load_state_dict_from_url"):
            safe = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            assert safe.get("weights_only") is True, f"{path}:{node.lineno}"
        if called in ("np.load", "numpy.load"):
            allowed = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            assert allowed.get("allow_pickle", False) is False, f"{path}:{node.lineno}"
        if called == "yaml.load":
            raise AssertionError(f"{path}:{node.lineno}: yaml.safe_load reads data, yaml.load runs tags")


FRAMES_BETWEEN = 3
"""At most so many of our functions between a command's and the one that does its work."""


def test_a_command_is_three_calls_from_its_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours alone are counted, from a stack that is taken where the work begins."""
    from dametric import cli
    from dametric.models import build, save_checkpoint
    from dametric.scoring import api as scoring
    from dametric.sweeps import carry_out
    from dametric.training import api, many

    save_checkpoint(tmp_path / "t.pth", build("resnet8", 10, 16), arch="resnet8", data="digits", image_size=16)
    grid = {"data": {"source": "digits", "image_size": 16, "train_images": 64}, "teachers": {"t": "t.pth"}}
    grid |= {"pairs": ["t -> resnet8"], "augmentations": ["flip"]}
    (tmp_path / "grid.yaml").write_text(json.dumps(grid), encoding="utf-8")
    short = ["--epochs", "1", "--image-size", "16", "--device", "cpu", "-q"]
    commands = {
        "train": (["--arch", "resnet8", "--data", "digits", "-o", "n.pth", *short], api, "carry_out_together"),
        "distill": (["-t", "t.pth", "-s", "resnet8", "--aug", "flip", "-o", "r", *short], many, "carry_out_together"),
        "score": (["-t", "t.pth", "--aug", "flip", "--no-accuracy", "--device", "cpu", "-q"], scoring, "measure"),
        "sweep": (["grid.yaml", "-o", "s", "--jobs", "1", "--device", "cpu", "-q"], carry_out, "perform"),
    }
    monkeypatch.chdir(tmp_path)
    stacks: list[list[str]] = []

    def at_work(*args: object, **options: object) -> None:
        calls = traceback.extract_stack()[:-1]
        stacks.append([f"{call.filename}:{call.name}" for call in calls if Path(call.filename).is_relative_to(PACKAGE)])
        raise KeyboardInterrupt

    for name, (arguments, module, work) in commands.items():
        with monkeypatch.context() as patch:
            patch.setattr(module, work, at_work)
            cli._run([name, *arguments])
        command = stacks[-1].index(f"{PACKAGE / 'cli' / name}.py:{name}")
        assert len(stacks) == list(commands).index(name) + 1, f"{name} never came to {work}"
        between = stacks[-1][command + 1 :]
        assert len(between) <= FRAMES_BETWEEN, (name, between)


LOOKUPS = 8.0
"""String-key look-ups per 1,000 lines, at most: what is structured is a type, and a dictionary's keys are data."""


def test_what_is_structured_is_typed() -> None:
    found, lines = 0, 0
    for module in MODULES:
        lines += len(MODULES[module].read_text(encoding="utf-8").splitlines())
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
                key: ast.expr | None = node.slice
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
                key = node.args[0] if node.args else None
            else:
                continue
            found += isinstance(key, ast.Constant) and isinstance(key.value, str)
    assert 1000 * found / lines <= LOOKUPS, f"{found} look-ups in {lines} lines"
