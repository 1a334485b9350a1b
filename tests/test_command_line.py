"""The command line as a user types it."""

import os
import signal
import subprocess
import sys

import pytest
from command_line import pade_bench, refusal

from pade_bench import __version__

SHORT = ("activation=relu", "trainer.max_epochs=1", "trainer.accelerator=cpu")
MISTAKES = {
    "activation=pua": "Did you mean 'pau'?",
    "experiment=mnist_lent": "Did you mean 'mnist_lenet'?",
    "optim=adm": "Did you mean 'adam'?",
    "experimnt=mnist_lenet": "Did you mean 'experiment'?",
    "trainer.max_epoch=3": "Did you mean 'max_epochs'?",
    "optim.weigts.lr=1": "Did you mean 'weights'?",
    "activation.degres=[3,2]": "Did you mean 'degrees'?",
    "optim.weights.lr=-1": "optim.weights.lr=-1.0: must be",
    "optim.weights.lr=nan": "optim.weights.lr=nan: must be",
    "optim.weights.lr=fast": "optim.weights.lr: Value 'fast'",
    "optim.pade_coefficients.weight_decay=-1": "must be at least 0",
    "optim.weights.lr_decay=0": "above 0 and at most 1",
    "optim.weights.lr_milestones=[3,2]": "rising epochs",
    "optim.optimizer=adam": "optim.optimizer is not a setting any more: it is optim._target_ now",
    "optim._target_=torch.optim.Adamm": "Did you mean 'Adam'?",
    "seed=abc": "seed: Value 'abc'",
    "seed=-1": "seed=-1: must be a whole number from 0",
    "trainer.max_epochs=0": "trainer.max_epochs=0: must be a whole number of at least 1",
    "trainer.accelerator=cup": "Did you mean 'cpu'?",
    "data.batch_size=0": "data.batch_size=0: must be",
    "data.max_rotation=-3": "data.max_rotation=-3: must be 0 to 180",
    "data.padding=4": "data.padding is not a setting: data has _target_, batch_size, max_rot",
    "data.max_rotaton=4": "Did you mean 'max_rotation'?",
    "data.max_rotation=far": "data.max_rotation='far': must be a number",
    "data.batch_size=1.5": "data.batch_size=1.5: must be a whole number",
    "+data.rotation=4": "data.rotation: pade_bench.data.Digits takes root, batch_size, max_rotat",
    "+data.seed=4": "data.seed: pade_bench sets this argument itself",
    "+model.depth=4": "model.depth: pade_bench.models.LeNet takes nothing",
    "+trainer.fast_dev_run=true": "trainer.fast_dev_run is not a setting: trainer has",
    "++trainer.max_epoch=1": "Did you mean 'max_epochs'?",
    "+optim.weights.momentum=1": "optim.weights.momentum is not a setting: optim.weights has",
    "trainer.max_epochs=???": "trainer.max_epochs is missing",
    "optim.lr=1": "optim.lr is not a setting: see optim.weights.lr and optim.pade_coefficients.lr",
    "lr=1": "lr is not a setting: see optim.weights.lr and optim.pade_coefficients.lr",
    "max_epochs=1": "max_epochs is not a setting: see trainer.max_epochs",
    "activation.nois=0.1": "Another argument of what it names is added with +activation.nois=…",
    "data.root=${oc.env:NOWHERE}": "data.root: Environment variable 'NOWHERE' not found",
    "runs_dir=${oc.env:NOWHERE}": "runs_dir: Environment variable 'NOWHERE' not found",
    "data.root=/data/lr=0.1": """quoted, for the shell too: 'data.root="/data/lr=0.1"'""",
    "data.root=/数据": """quoted, for the shell too: 'data.root="/数据"'""",
    "trainer=null": "trainer=null: must be the name of a file",
    "data=torchvision": "data.dataset is missing",
    "prune.shares=[20,10]": "prune.shares=[20.0, 10.0]: must be rising percentages",
    "prune.shares=[0]": "must be rising percentages above 0 and below 100",
    "prune.shares=[100]": "must be rising percentages above 0 and below 100",
    "prune.shares=[-5]": "must be rising percentages above 0 and below 100",
    "prune.shares=[10,95]": "95 % of the 6 filters of layer 0 would be all of them",
    "prune.weights=old": "prune.weights='old' is not one of original, new",
    "prune.weights=new": "prune.weights=new: nothing is pruned here",
    "optim.weights.lr_milestones=[3] optim.weights.lr_decay=1": "by optim.weights.lr_decay there",
    "+optim.weights.schedule.T_max=3": "Choose one first: schedule@optim.weights.schedule=NAME.",
    "+hydra.job.nam=x": "hydra.job.nam is not a setting: hydra.job has",
    "+hydra.lancher.n_jobs=2": "Did you mean 'launcher'?",
    "+sweep=smoke": "+sweep=smoke: sweep is chosen already, so write it without the +.",
    "data=image_folder": "data.root",
    "model=mobilenetv2_imagenet": "takes images of 3 channels, not 1",
    "model._target_=torch.nn.ReLU": "model: torch.nn.ReLU does not take a number of channels",
    "activation.degrees=[3": "activation.degrees=[3",
    "runs_dir=${nothing}": "runs_dir: Interpolation key 'nothing' not found",
    "optim.gradient_clip_norm=[1]": "optim.gradient_clip_norm=[1]: must be above 0",
    "data.root=~/x": """quoted, for the shell too: 'data.root="~/x"'""",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_explained_in_few_lines_before_anything_is_written(mistake, tmp_path):
    code, errors = refusal(*mistake.split(" "), cwd=tmp_path)
    assert code == 2
    assert MISTAKES[mistake] in errors
    assert "Traceback" not in errors
    assert len(errors.splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []


def test_the_process_that_a_user_starts_ends_as_the_tests_say(tmp_path):
    result = pade_bench("trainer.max_epoch=3", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert (result.returncode, result.stderr) == refusal("trainer.max_epoch=3", cwd=tmp_path)


def test_a_mistake_in_a_sweep_is_found_before_the_first_job(tmp_path):
    result = pade_bench("-m", "activation=relu,pau", "trainer.max_epochs=2,0", cwd=tmp_path)
    assert result.returncode == 2
    assert "trainer.max_epochs=0: must be" in result.stderr
    assert not (tmp_path / "runs" / "digits_lenet").exists()


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        ("trainer:\n  max_epoch: 3\n", "Did you mean 'max_epochs'?"),
        ("trainer:\n  max_epochs: many\n", "trainer.max_epochs: Value 'many'"),
        ("trainer:\n  max_epochs: 0\n", "trainer.max_epochs=0: must be"),
    ],
)
def test_a_mistake_in_a_users_yaml_is_explained_too(file, complaint, tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "my.yaml").write_text(f"# @package _global_\n{file}")
    result = pade_bench("--config-dir", "mine", "experiment=my", cwd=tmp_path)
    assert result.returncode == 2
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr


def test_a_network_that_cannot_take_the_images_is_refused(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def features(activation, in_channels, num_classes):\n"
        "    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), activation())\n"
        "def wide(activation, in_channels, num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(9, num_classes), activation())\n"
    )
    for name, complaint in {
        "features": "of the shape (2, 4, 30, 30), not (2, 10): a score for each class",
        "wide": "cannot take images of 1×32×32: ",
    }.items():
        code, errors = refusal(f"model._target_=mine.{name}", cwd=tmp_path)
        assert code == 2
        assert f"model._target_=mine.{name}" in errors
        assert complaint in errors
        assert not (tmp_path / "runs").exists()


def test_the_version_is_this_program_s(tmp_path):
    assert pade_bench("--version", cwd=tmp_path).stdout == f"pade_bench {__version__}\n"


def test_what_else_hydra_offers_is_printed(tmp_path):
    result = pade_bench("--hydra-help", cwd=tmp_path)
    assert result.returncode == 0
    assert "--shell-completion" in result.stdout


def test_help_is_about_this_program(tmp_path):
    result = pade_bench("--help", cwd=tmp_path)
    assert result.returncode == 0
    assert "experiment=mnist_lenet activation=pau" in result.stdout
    assert "Powered by Hydra" not in result.stdout


@pytest.mark.parametrize("flag", ["--help", "--cfg"])
def test_a_configuration_is_printed_without_importing_torch(flag, tmp_path):
    code = (
        "import sys; from pade_bench.__main__ import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    arguments = [flag] if flag == "--help" else [flag, "job"]
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "max_epochs" in result.stdout


def test_one_run_and_a_sweep_share_a_home_and_a_finished_run_is_left_alone(tmp_path):
    short = ("trainer.max_epochs=1", "activation=relu", "trainer.accelerator=cpu")
    first = pade_bench(*short, "seed=1", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    (record,) = tmp_path.glob("runs/digits_lenet/relu-*/seed1/record.json")
    written = record.stat().st_mtime_ns
    sweep = pade_bench("-m", *short, "seed=1,2", cwd=tmp_path)
    assert sweep.returncode == 0, sweep.stderr
    assert record.stat().st_mtime_ns == written
    homes = {r.parent.name for r in record.parent.parent.glob("*/record.json")}
    assert homes == {"seed1", "seed2"}


def test_a_users_own_activation_works_by_target_alone(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\nclass Sine(torch.nn.Module):\n"
        "    def forward(self, x):\n        return torch.sin(x)\n"
    )
    (tmp_path / "config" / "activation").mkdir(parents=True)
    (tmp_path / "config" / "activation" / "sine.yaml").write_text("_target_: mine.Sine\n")
    arguments = ("--config-dir", "config", "activation=sine", "trainer.max_epochs=1")
    result = pade_bench(*arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert list(tmp_path.glob("runs/digits_lenet/sine-*/seed0/record.json"))


def test_an_unusable_activation_class_is_refused_before_training(tmp_path):
    (tmp_path / "config" / "activation").mkdir(parents=True)
    (tmp_path / "config" / "activation" / "my.yaml").write_text("_target_: torch.nn.Flatten\n")
    result = pade_bench("--config-dir", "config", "activation=my", cwd=tmp_path)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "Flatten" in result.stderr
    assert not list(tmp_path.glob("runs/digits_lenet/*"))


def test_missing_data_is_one_message_that_says_what_to_do(tmp_path):
    (tmp_path / "empty").mkdir()
    result = pade_bench("experiment=mnist_lenet", "data.root=empty", cwd=tmp_path)
    assert result.returncode == 2
    assert "train-images-idx3-ubyte" in result.stderr
    assert "data.root=" in result.stderr
    assert len(result.stderr.splitlines()) == 2
    assert not (tmp_path / "runs" / "mnist_lenet").exists()


def test_an_interrupted_run_says_that_it_resumes_and_does(tmp_path):
    command = [sys.executable, "-m", "pade_bench", "activation=relu", "trainer.max_epochs=20"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if line.startswith("epoch 2/"):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the same command resumes" in errors
    assert "Traceback" not in errors
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "resuming after epoch" in again.stdout
    assert "epoch 1/20" not in again.stdout


def test_a_path_in_quotation_marks_may_hold_anything_and_begin_with_a_tilde(tmp_path):
    arguments = ('runs_dir="~/数据=3"', 'data.root="~/[x] 数据"', *SHORT)
    for command in (arguments, ("-m", *arguments)):
        result = pade_bench(*command, cwd=tmp_path, HOME=str(tmp_path / "home"))
        assert result.returncode == 0, result.stderr
    (home,) = (tmp_path / "home").glob("数据=3/digits_lenet/relu-*/seed0")
    assert "[x] 数据" in (home / "config.yaml").read_text(encoding="utf-8")
    assert os.listdir(tmp_path) == ["home"]
    status = pade_bench(
        "--runs=~/数据=3", module="pade_bench.status", cwd=tmp_path, HOME=str(tmp_path / "home")
    )
    assert "nothing left to do" in status.stdout, status.stderr


COMMANDS = {
    "help": ("pade_bench", "--help"),
    "config": ("pade_bench", "--cfg", "job"),
    "dry run": ("pade_bench", "dry_run=true"),
    "options": ("pade_bench.report", "--help"),
    "certify": ("pade_bench.certify", "--help"),
    "ranking": ("pade_bench.compare", "--published"),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_reader_that_goes_away_ends_a_command_without_a_traceback(command, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)  # as head has done
    try:
        result = subprocess.run(
            [sys.executable, "-m", *command], cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE,
            text=True, check=False,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert result.stderr == ""


def test_a_locale_without_unicode_is_no_reason_to_fail(tmp_path):
    ascii_only = {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    trained = pade_bench(*SHORT, "activation=pau", cwd=tmp_path, **ascii_only)
    assert trained.returncode == 0, trained.stderr
    ranked = pade_bench(cwd=tmp_path, module="pade_bench.compare", **ascii_only)
    assert ranked.returncode == 0, ranked.stderr
    assert "PAU" in ranked.stdout
