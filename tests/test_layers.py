"""The arrows between the packages, and what an import of siamedge costs: both are read off the code itself."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from shared import ROOT

MAY_IMPORT = {
    "runtime": {"runtime"},
    "devices": {"devices", "runtime"},
    "export": {"export", "runtime"},
    "training": {"training", "export", "runtime"},
    "cli": {"cli", "devices", "export", "runtime", "training"},
}
RUNTIME_MAY_IMPORT = {
    "backends": set[str](),
    "sources": set[str](),
    "tracking": {"backends"},
    "bundles": {"backends", "tracking"},
    "speed": {"backends", "tracking", "bundles"},
    "loop": {"sources", "tracking"},
    "watching": {"backends", "tracking", "bundles"},
    "following": {"backends", "tracking", "bundles", "sources", "loop", "watching"},
    "outputs": {"sources", "tracking", "loop"},
    "web": {"sources", "tracking", "loop", "outputs"},
}
"""Of the runtime's packages and of the modules beside them that use these; other modules (errors ...) use none."""
EXPORT_MAY_IMPORT = {
    "families": set[str](),
    "checkpoints": {"families"},
    "graphs": {"families"},
    "calibration": {"families", "checkpoints"},
    "verification": {"families", "calibration"},
    "quantization": {"families", "graphs", "calibration", "verification"},
    "formats": {"families", "graphs", "calibration", "quantization"},
    "evaluation": {"families", "checkpoints"},
    "int8": {"families", "calibration", "verification", "quantization", "formats", "evaluation"},
    "bundles": {"families", "checkpoints", "calibration", "verification", "formats"},
    "quantization_page": {"verification", "evaluation"},
    "pipeline": {
        "families",
        "checkpoints",
        "calibration",
        "verification",
        "quantization",
        "formats",
        "int8",
        "bundles",
    },
}
"""The same of the export's."""
TRAINING_MAY_IMPORT = {
    "crops": set[str](),
    "networks": set[str](),
    "teaching": {"crops", "networks"},
    "pairs": {"crops", "teaching"},
    "recipes": {"crops", "networks", "pairs"},
    "feeding": {"crops", "networks", "teaching", "pairs", "recipes"},
    "running": {"networks", "teaching", "pairs", "recipes", "feeding"},
    "siamfc": {"crops", "networks", "pairs", "recipes", "feeding", "running"},
    "calibration": {"crops", "pairs"},
    "evaluation": {"crops"},
    "job": {"crops", "teaching", "recipes", "feeding", "running", "siamfc", "evaluation"},
    "tensorboard_log": {"job"},
}
"""The same of the training's."""
DEVICES_MAY_IMPORT = {
    "boards": set[str](),
    "libraries": set[str](),
    "on_device": {"boards"},
    "connection": {"on_device"},
    "diagnosis": {"boards", "libraries", "connection"},
    "releases": {"boards", "libraries", "on_device"},
    "flashing": {"boards", "libraries", "on_device", "connection", "diagnosis", "releases"},
}
"""The same of the devices'."""
PARTS = {
    "devices": DEVICES_MAY_IMPORT,
    "runtime": RUNTIME_MAY_IMPORT,
    "export": EXPORT_MAY_IMPORT,
    "training": TRAINING_MAY_IMPORT,
}
WORKSTATION = {"torch", "torchvision", "onnx", "onnxscript", "nncf", "litert_torch", "ai_edge_quantizer", "safetensors"}
INFERENCE = {"onnxruntime", "openvino", "ai_edge_litert", "tflite_runtime", "tensorrt", "tensorflow"}
DEVICE_CORE = {"numpy", "cv2", "rich", "typer", "siamedge"}
WEB = {"starlette", "uvicorn"}
"""Of the extra [web]; only siamedge.runtime.web imports them, and only cli/ imports that, in functions."""
MQTT = {"paho"}
"""Of the extra [mqtt]; only siamedge.runtime.outputs.mqtt imports it."""
CONVERTERS = WORKSTATION - {"torch", "safetensors"}


def modules(package: str) -> list[Path]:
    return sorted(path for path in (ROOT / package).rglob("*.py") if "node_modules" not in path.parts)


def imports_of(tree: ast.AST, *, at_top: bool) -> Iterator[str]:
    """Full names that a module imports; at_top: those that run when it is imported, TYPE_CHECKING blocks excepted."""
    for node in ast.iter_child_nodes(tree):
        if at_top and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
        yield from imports_of(node, at_top=at_top)


def lazy_targets(tree: ast.AST) -> Iterator[str]:
    """Modules that a table names as "siamedge.package.module:attribute"."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and ":" in node.value:
            module = node.value.partition(":")[0]
            if module.startswith("siamedge.") and module.replace(".", "").isidentifier():
                yield module


def all_trees(package: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in modules(package):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def imported_of(package: str, tree: ast.AST) -> set[str]:
    """What a module imports of a package, in functions and by tables too: of siamedge "runtime", "export" ..."""
    names = [*imports_of(tree, at_top=False), *lazy_targets(tree)]
    return {name.removeprefix(f"{package}.").split(".")[0] for name in names if name.startswith(f"{package}.")}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_lies_below_it(package: str) -> None:
    assert modules(package)
    for path, tree in all_trees(package):
        assert imported_of("siamedge", tree) <= MAY_IMPORT[package], path


@pytest.mark.parametrize("package", PARTS)
def test_a_part_of_a_package_imports_only_what_lies_below_it(package: str) -> None:
    may_import = PARTS[package]
    folders = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    beside = {path.stem for path in (ROOT / package).glob("*.py")}
    assert folders <= set(may_import) <= folders | beside
    for path, tree in all_trees(package):
        part = path.relative_to(ROOT / package).with_suffix("").parts[0]
        allowed = may_import.get(part, set()) | {part}
        assert imported_of(f"siamedge.{package}", tree) & set(may_import) <= allowed, path


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_there_are_no_relative_imports(package: str) -> None:
    for path, tree in all_trees(package):
        assert not [name for name in imports_of(tree, at_top=False) if name.startswith(".")], path


def test_the_rules_notice_what_they_forbid() -> None:
    tree = ast.parse(
        "import siamedge.export.graphs\nfrom . import x\ndef f():\n  import torch\nT = 'siamedge.cli.main:x'"
    )
    assert list(imports_of(tree, at_top=False)) == ["siamedge.export.graphs", ".", "torch"]
    assert list(imports_of(tree, at_top=True)) == ["siamedge.export.graphs", "."]
    assert list(lazy_targets(tree)) == ["siamedge.cli.main"]


@pytest.mark.parametrize("package", ["runtime", "devices"])
def test_the_device_side_never_imports_what_only_a_workstation_has(package: str) -> None:
    for path, tree in all_trees(package):
        roots = {name.split(".")[0] for name in imports_of(tree, at_top=False)}
        assert not roots & WORKSTATION, path


@pytest.mark.parametrize("package", ["runtime", "devices"])
def test_inference_libraries_are_imported_in_functions_alone(package: str) -> None:
    for path, tree in all_trees(package):
        roots = {name.split(".")[0] for name in imports_of(tree, at_top=True)}
        assert not roots & INFERENCE, path


@pytest.mark.parametrize("package", ["runtime", "devices"])
def test_the_device_side_needs_its_core_and_nothing_else(package: str) -> None:
    for path, tree in all_trees(package):
        roots = {name.split(".")[0] for name in imports_of(tree, at_top=True)}
        extra = WEB if path.parent.name == "web" else MQTT if path.name == "mqtt.py" else set()
        assert roots <= DEVICE_CORE | sys.stdlib_module_names | extra, path


def test_the_web_page_is_imported_when_it_is_asked_for() -> None:
    for package in MAY_IMPORT:
        for path, tree in all_trees(package):
            if path.parent.name != "web":
                names = list(imports_of(tree, at_top=True))
                assert not [name for name in names if name.startswith("siamedge.runtime.web")], path


def test_an_inference_library_is_imported_by_its_own_backend_only() -> None:
    own = {
        "onnxruntime": {"onnxruntime_backend.py"},
        "openvino": {"openvino_backend.py", "openvino_tiles.py"},
        "ai_edge_litert": {"tflite_file.py"},
    }
    for path, tree in all_trees("runtime"):
        for name in {name.split(".")[0] for name in imports_of(tree, at_top=False)} & INFERENCE:
            assert path.name in own[name]


def test_converters_are_imported_when_they_convert() -> None:
    for path, tree in all_trees("export"):
        roots = {name.split(".")[0] for name in imports_of(tree, at_top=True)}
        assert not roots & (CONVERTERS | INFERENCE), path


def test_package_files_hold_a_docstring_only() -> None:
    for package in MAY_IMPORT:
        for path in (ROOT / package).rglob("__init__.py"):
            body = ast.parse(path.read_text(encoding="utf-8")).body
            assert len(body) == 1, path
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path
    assert not (ROOT / "siamedge").exists()


def imported_by(*arguments: str) -> set[str]:
    """Top-level packages in memory after a run of the command line."""
    code = (
        "import sys\n"
        f"sys.argv = ['siamedge', *{arguments!r}]\n"
        "from siamedge.cli.main import main\n"
        "try:\n    main()\n"
        "except SystemExit as stop:\n    assert stop.code == 0, stop.code\n"
        "print('loaded:', *sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    return set(run.stdout.rpartition("loaded:")[2].split())


@pytest.mark.parametrize(
    "arguments", [("--help",), ("track", "--help"), ("export", "--help"), ("train", "--help"), ("--version",)]
)
def test_help_imports_no_heavy_library(arguments: tuple[str, ...]) -> None:
    loaded = imported_by(*arguments)
    assert "siamedge" in loaded
    assert not loaded & (WORKSTATION | INFERENCE | {"cv2", "PIL", "matplotlib"})
