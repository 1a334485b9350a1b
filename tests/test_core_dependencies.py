"""The unit, the activations and conversion need torch alone."""

import importlib.metadata
import subprocess
import sys
import textwrap

import pytest

FRAMEWORK = (
    "cupy", "hydra", "lightning_fabric", "matplotlib", "omegaconf", "PIL", "pytorch_lightning",
    "rich", "sklearn", "tensorboard", "torch_pruning", "torchvision", "yaml",
)  # fmt: skip
BLOCK = f"""
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {FRAMEWORK}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Block())
"""


def run(code):
    return subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", BLOCK + textwrap.dedent(code)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_units_and_conversion_work_where_the_framework_is_not_installed():
    done = run(
        """
        import torch, pade_bench
        from pade_bench.activations import APL, SLAF, Maxout, Mixture, SReLU

        x = torch.randn(8, 1, 32, 32)
        network = pade_bench.build_model("lenet", "pau")
        network(x).sum().backward()
        for name in ("rpau", "apl", "srelu", "slaf", "mixture", "maxout", "swish", "relu"):
            pade_bench.build_model("lenet", name)(x).sum().backward()
        other = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU())
        assert len(pade_bench.convert_activations(other, "pau")) == 1
        other(torch.randn(2, 4)).sum().backward()
        unit = pade_bench.PAU(init=torch.tanh, degrees=(3, 2))
        pade_bench.functional.pau(x, unit.numerator, unit.denominator)
        """
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "code",
    ["pade_bench.build_model('mobilenetv2_imagenet', 'pau', in_channels=3)",
     "pade_bench.load_run('.')"],
)  # fmt: skip
def test_what_needs_the_framework_names_the_package_that_is_missing(code):
    done = run(f"import pade_bench; {code}")
    assert done.returncode == 1
    assert "No module named" in done.stderr.splitlines()[-1]


def test_the_core_requires_torch_numpy_and_scipy_alone():
    required = importlib.metadata.requires("pade_bench") or []
    core = [requirement for requirement in required if "extra ==" not in requirement]
    assert [requirement.partition(">")[0] for requirement in core] == ["torch", "numpy", "scipy"]
