"""What holds for the package as a whole."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "pade_bench"

# Each layer may import itself and those before it, whenever it does.
LAYERS = (
    "errors",
    "config",
    "runs",
    "report",
    "ops",
    "functional",
    "activations",
    "bounds",
    "models",
    "gpu_check",
    "data",
    "training",
    "sweeps",
    "status",
    "compare",
    "dashboard",
    "evaluate",
    "certify",
    "__main__",
)
WITHOUT_TORCH = ("__init__", "__main__", "errors", "config", "runs", "report", "sweeps", "status",
                 "compare", "dashboard")  # fmt: skip
TORCH = ("torch", "torchvision", "pytorch_lightning")


def imports(path):
    """Yield the modules that a file imports, and whether that happens when it is imported."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            if node.module == "pade_bench":
                names = [f"pade_bench.{alias.name}" for alias in node.names]
        for name in names:
            yield name, node in tree.body


def layer(module):
    if module.startswith("hydra_plugins.pade_bench"):
        return "sweeps"
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "pade_bench" else None


def modules(name):
    path = PACKAGE / name
    if name == "sweeps":
        return [*path.rglob("*.py"), *(ROOT / "hydra_plugin").rglob("*.py")]
    return list(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def test_every_module_belongs_to_a_layer():
    names = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert names - {"__init__"} == set(LAYERS)


@pytest.mark.parametrize("importer", LAYERS)
def test_imports_point_one_way(importer):
    allowed = (None, "__version__", *LAYERS[: LAYERS.index(importer) + 1])
    for file in modules(importer):
        for module, _ in imports(file):
            assert layer(module) in allowed, f"{file} imports {module}"


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_modules_that_must_not_wait_for_torch_do_not_import_it(name):
    for file in modules(name):
        for module, at_import in imports(file):
            if at_import:
                assert module.split(".")[0] not in TORCH, f"{file} imports {module}"
                assert layer(module) in (None, *WITHOUT_TORCH), f"{file} imports {module}"


@pytest.mark.parametrize("name", ["config", "runs", "report"])
def test_what_reads_copied_runs_never_imports_torch(name):
    for file in modules(name):
        for module, _ in imports(file):
            # TensorBoard does without torch, but need not be there to make a report.
            banned = TORCH if file.name == "dashboard.py" else (*TORCH, "tensorboard")
            assert module.split(".")[0] not in banned, f"{file} imports {module}"


def experiments():
    return sorted(p.stem for p in (ROOT / "configs" / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("experiment", experiments())
def test_every_experiment_composes(experiment, make_run):
    run = make_run(f"experiment={experiment}")
    prunes = "prune_" if run.pruned_share is not None else ""
    data, model = run.names["data"], run.names["model"].removesuffix("_imagenet")
    assert experiment == f"{prunes}{data}_{model}"
    home = "pau-pruned60" if prunes else "pau"
    assert run.directory.parts[-3:] == (experiment, home, "seed0")


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs" / "optim").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_value_of_a_recipe_says_where_it_comes_from(path):
    values = [line for line in path.read_text().splitlines() if re.search(r": *[^ #]", line)]
    values = [line for line in values if not line.startswith("#")]
    assert values
    for line in values:
        assert re.search(
            r"#.*\[(paper|authors' code|later code|derived|assumed|torch's default|not in the)",
            line,
        ), line


def test_the_noise_of_rpau_is_the_networks(make_run):
    for experiment, noise in (("vgg8", 0.01), ("mobilenetv2", 0.01), ("resnet101", 0.1)):
        run = make_run(f"experiment=cifar10_{experiment}", "activation=rpau")
        assert run.config.activation.arguments["noise"] == noise
        assert run.directory.parent.name == "rpau"
    run = make_run("experiment=cifar10_resnet101", "activation=rpau", "activation.noise=0.2")
    assert run.config.activation.arguments["noise"] == 0.2
    run = make_run("experiment=cifar10_resnet101", "activation=pau")
    assert "noise" not in run.config.activation.arguments


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return a folder into which the wheel of this repository is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    source, wheels, site = folder / "source", folder / "wheels", folder / "site"
    source.mkdir()
    for name in ("pade_bench", "configs", "hydra_plugin", "kernels", "results"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(source)]
    subprocess.run([*pip, *build], check=True, capture_output=True)
    (wheel,) = wheels.glob("*.whl")
    install = ["install", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run([*pip, *install], check=True, capture_output=True)
    return site


def test_another_program_of_hydra_does_not_import_this_one(installed):
    # Hydra imports every plugin it finds, whatever program asks; sweepers of this one are its own.
    program = (
        "import sys; from hydra.core.plugins import Plugins; Plugins.instance(); "
        "print(*(name for name in sys.modules if 'pade_bench.' in name or name == 'pade_bench'))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=installed,
        env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert said.stdout.split() == []


def test_the_wheel_works_in_an_empty_folder(installed, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    result = subprocess.run(
        [sys.executable, "-m", "pade_bench", "activation=relu", "trainer.max_epochs=1"],
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert list(empty.glob("runs/digits_lenet/relu-*/seed0/record.json"))
    shipped = {p.name for p in (installed / "pade_bench").rglob("*")}
    for folder in ("configs", "kernels"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix in (".yaml", ".h", ".cu", ".cpp"):
                assert path.name in shipped, path
    answer = subprocess.run(
        [sys.executable, "-m", "pade_bench.compare", "--published"],
        cwd=empty, env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert "PAU" in answer.stdout


def test_every_text_file_is_opened_with_its_encoding():
    left_out = []
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "hydra_plugin").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            given = ast.unparse(node)
            binary = re.search(
                r"'[rwax]?\+?b\+?'|tarfile|gzip|zipfile|Image\.|os\.open|_open", given
            )
            is_text = name in ("read_text", "write_text") or (name == "open" and not binary)
            if is_text and "encoding=" not in given:
                left_out.append(f"{path.relative_to(ROOT)}:{node.lineno}: {given}")
    assert left_out == []
