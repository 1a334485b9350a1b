"""The dashboard: what its event files hold, and what TensorBoard's pages show of them."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import numpy as np
import pytest
from browser import WALK
from synthetic_runs import Runs, write_record
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pade_bench.dashboard import main, serve
from pade_bench.report.dashboard import BOUNDS, CURVES, Dashboard
from pade_bench.runs.names import file_name
from pade_bench.training import fit

SHORT = {"trainer.max_epochs": 5}
CHARTS = ("mnist_lenet", "digits_lenet", "digits_lenet, trainer.max_epochs=5")
PNG = base64.b64decode(  # one pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)


def show(runs, folder):
    """Return a dashboard on the runs and a function that reads one of its runs."""
    log_dir = folder / "log"
    log_dir.mkdir()
    dashboard = Dashboard(runs.root, log_dir)
    return dashboard, lambda name: EventAccumulator(str(log_dir / name)).Reload()


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def curve(events, tag):
    return [event.value for event in events.Scalars(tag)]


@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path),
             lambda path: path.write_bytes(b"no picture")],
    ids=["pipe", "folder", "link", "text"],
)  # fmt: skip
def test_a_picture_that_is_none_is_left_out_and_not_waited_for(runs, tmp_path, make):
    home = runs.finish("mnist_lenet", "pau", 0)
    make(home / "activations.png")
    dashboard, read = show(runs, tmp_path)
    assert dashboard.update() == []
    assert read("mnist_lenet/PAU").Tags()["images"] == []


def test_a_group_of_seeds_is_a_run_with_mean_and_spread(runs, tmp_path):
    runs.sweep("mnist_lenet", ["pau"], seeds=3)
    runs.finish("mnist_lenet", "pau", 3, status="diverged")
    dashboard, read = show(runs, tmp_path)
    before = files(runs.root)
    assert dashboard.update() == []
    (group,) = runs.groups()
    accuracy = np.array([run.accuracy_per_epoch for run in group.finished])
    events = read("mnist_lenet/PAU")
    mean, std = accuracy.mean(axis=0), accuracy.std(axis=0, ddof=1)
    for suffix, expected in (("", mean), (" - std", mean - std), (" + std", mean + std)):
        found = curve(events, f"mnist_lenet/test accuracy{suffix}")
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    for name, history in CURVES.items():
        values = np.mean([getattr(run, history) for run in group.finished], axis=0)
        np.testing.assert_allclose(curve(events, f"mnist_lenet/{name}"), values, rtol=1e-6)
    # Ten epochs of two seconds, on a clock that starts with the training.
    assert [e.wall_time for e in events.Scalars("mnist_lenet/train loss")][-1] == 20.0
    final = {tag: curve(events, tag) for tag in events.Tags()["scalars"] if tag[:5] == "final"}
    assert final == {
        "final/test accuracy": [pytest.approx(mean[-1])],
        "final/std": [pytest.approx(std[-1], rel=1e-5)],
        "final/best": [pytest.approx(accuracy[:, -1].max())],
        "final/seeds": [3.0],
    }
    assert files(runs.root) == before


def test_settings_are_charts_and_runs_of_their_own(runs, tmp_path):
    runs.sweep("mnist_lenet", ["pau", "relu"], seeds=1)
    runs.sweep("mnist_lenet", ["pau"], seeds=1, changes=SHORT, epochs=5)
    runs.sweep("mnist_lenet", ["pau"], seeds=1, changes={"activation.init": "a/b"})
    dashboard, read = show(runs, tmp_path)
    dashboard.update()
    assert dashboard.shown.keys() == {
        "mnist_lenet/PAU", "mnist_lenet/ReLU", f"mnist_lenet/{file_name('PAU (init=a/b)', ' ()=')}",
        "mnist_lenet, trainer.max_epochs=5/PAU", "layout",
    }  # fmt: skip
    # One seed has no spread to tell.
    assert "final/std" not in read("mnist_lenet/PAU").Tags()["scalars"]


def test_of_older_runs_there_are_the_curves_that_they_have(runs, tmp_path):
    old = {"train_accuracy_per_epoch": None, "test_loss_per_epoch": None}
    runs.sweep("mnist_lenet", ["relu"], seeds=2)
    runs.finish("mnist_lenet", "pau", 0)
    runs.finish("mnist_lenet", "pau", 1, **old)
    runs.sweep("digits_lenet", ["pau"], seeds=2, **old)
    dashboard, read = show(runs, tmp_path)
    assert dashboard.update() == []
    both = {"test accuracy", "train loss"}
    for name, curves in (("mnist_lenet/ReLU", set(CURVES)), ("mnist_lenet/PAU", both)):
        tags = read(name).Tags()["scalars"]
        assert {tag.partition("/")[2] for tag in tags if tag.startswith("mnist_lenet")} == {
            f"{curve}{bound}" for curve in curves for bound in ("", *BOUNDS)
        }
    assert dashboard.shown["layout"][0] == {
        "digits_lenet": ["test accuracy", "train loss"], "mnist_lenet": list(CURVES),
    }  # fmt: skip


def test_settings_too_long_for_a_folder_are_cut(runs, tmp_path):
    for i in range(2):
        changes = {f"optim.weights.setting_{n}": i for n in range(20)}
        runs.finish("mnist_lenet", "pau", 0, changes=changes)
    dashboard, read = show(runs, tmp_path)
    assert dashboard.update() == []
    names = [name for name in dashboard.shown if name != "layout"]
    assert len(names) == 2
    assert all(read(name).Tags()["scalars"] for name in names)


@pytest.mark.parametrize(
    ("experiment", "activation"),
    [("..", "precious"), ("../precious", "."), ("x" * 200, "-rf"), ("/etc", "é\\")],
    ids=ascii,
)
def test_a_record_names_no_folder_outside_the_log_directory(runs, tmp_path, experiment, activation):
    precious = tmp_path / "precious" / "file"
    precious.parent.mkdir()
    precious.write_text("kept")
    home = runs.finish("mnist_lenet", "pau", 0)
    record = json.loads((home / "record.json").read_text())
    write_record(home, record | {"experiment": experiment, "activation": activation})
    before = {path for path in files(tmp_path) if runs.root not in path.parents}
    dashboard, _ = show(runs, tmp_path)
    dashboard.update()
    (name,) = dashboard.shown.keys() - {"layout"}
    written = {path for path in files(tmp_path) if runs.root not in path.parents} - before
    assert written
    assert all(path.resolve().is_relative_to(tmp_path / "log") for path in written)
    (home / "record.json").unlink()
    (home / "config.yaml").unlink()
    dashboard.update()
    assert name not in dashboard.shown
    assert precious.read_text() == "kept"


def test_only_what_changed_is_written_anew(runs, tmp_path):
    runs.sweep("mnist_lenet", ["pau", "relu"], seeds=2)
    dashboard, read = show(runs, tmp_path)
    dashboard.update()
    before = files(tmp_path / "log")
    dashboard.update()
    assert files(tmp_path / "log") == before
    runs.finish("mnist_lenet", "pau", 2, 50.0)
    dashboard.update()
    assert {path.parent.name for path in files(tmp_path / "log").keys() - before.keys()} == {"PAU"}
    assert curve(read("mnist_lenet/PAU"), "final/best")[-1] > 98
    assert curve(read("mnist_lenet/PAU"), "final/seeds") == [3.0]
    runs.directory("mnist_lenet", "relu", 0).parent.rename(tmp_path / "elsewhere")
    dashboard.update()
    assert {path.name for path in (tmp_path / "log" / "mnist_lenet").iterdir()} == {"PAU"}


def test_a_broken_record_is_returned_and_without_runs_there_is_nothing(runs, tmp_path):
    dashboard, _ = show(runs, tmp_path)
    assert dashboard.update() == []
    assert dashboard.shown == {}
    (runs.finish("mnist_lenet", "pau", 0) / "record.json").write_text("{")
    assert "mnist_lenet/pau/seed0" in dashboard.update()[0]


def test_without_a_runs_directory_there_is_no_dashboard(tmp_path, capsys):
    assert main(["--runs", str(tmp_path / "nowhere")]) == 2
    assert "nowhere is not a directory" in capsys.readouterr().err


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Yield where the command line says that the dashboard is; it has three experiments."""
    folder = tmp_path_factory.mktemp("dashboard")
    runs = Runs(folder / "runs")
    for place, activation in enumerate(["relu", "swish", "rpau", "pau"]):
        for seed in range(3):
            home = runs.finish("mnist_lenet", activation, seed, 97 + place / 2 + seed / 10)
            if activation in ("pau", "rpau"):
                (home / "activations.png").write_bytes(PNG)
    runs.sweep("digits_lenet", ["relu", "pau"], seeds=2, changes=SHORT, epochs=5)
    runs.sweep("digits_lenet", ["pau"], seeds=2, changes={"activation.init": "swish"})
    (folder / "tmp").mkdir()
    command = [sys.executable, "-m", "pade_bench.dashboard", "--port", "0"]
    environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        found = next(line.strip() for line in process.stdout if line.startswith("http"))
        while len(answer(found, "runs")) < 8:  # TensorBoard is reading
            time.sleep(0.1)
        yield found
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    assert list((folder / "tmp").iterdir()) == []


def page(address, name):
    return f"{address.partition('?')[0]}#{name}"


def answer(address, path, **parameters):
    """Return what TensorBoard's server says."""
    query = urllib.parse.urlencode(parameters)
    url = f"{address.partition('?')[0]}data/{path}?{query}"
    with urllib.request.urlopen(url, timeout=60) as found:
        return json.load(found)


# What is drawn in each chart of the page of custom scalars: visible lines, and bands.
DRAWN = f"""{WALK}
const drawn = [];
for (const card of walk(document.body)) {{
  if (card.tagName !== 'TF-CUSTOM-SCALAR-MARGIN-CHART-CARD') continue;
  const paths = [...walk(card)].filter(
    (node) => node.tagName === 'path' && (node.getAttribute('d') || '').length > 20);
  const lines = paths.filter((path) => path.matches('.line')
    && getComputedStyle(path).stroke !== 'none');
  const bands = paths.filter((path) => path.matches('.area')
    && getComputedStyle(path).fill !== 'none');
  drawn.push([card.title, lines.length, bands.length]);
}}
return drawn.sort();
"""


def test_each_chart_has_a_line_and_a_band_for_each_activation(browser, address):
    browser.open(address)
    browser.wait_for(lambda texts: texts.count("Matches (4)") == len(CURVES))
    expected = [
        [f"{name}, mean ± std", lines, lines] for name in sorted(CURVES) for lines in (1, 2, 4)
    ]
    browser.wait_for(lambda _: browser.run(DRAWN) == expected)
    texts = browser.texts()
    for title in ("mnist_lenet", "digits_lenet, trainer.max_epochs=5", "mnist_lenet/RPAU"):
        assert title in texts
    assert "Missing Tags" not in texts


def test_the_server_has_all_series_of_each_chart(address):
    charts = [
        chart["margin"]["series"][0]
        for section in answer(address, "plugin/custom_scalars/layout")["category"]
        for chart in section["chart"]
    ]
    assert len(charts) == 3 * len(CURVES)
    runs = answer(address, "runs")
    assert "digits_lenet/PAU (init=swish)" in runs
    for series in charts:
        tags = {series["value"], series["lower"], series["upper"]}
        assert not any("(" in tag for tag in tags), "the page takes this for the name of a run"
        pattern = "|".join(map(re.escape, tags))
        found = [answer(address, "plugin/custom_scalars/scalars", run=run, tag=pattern)
                 for run in runs]  # fmt: skip
        assert any(one["tag_to_events"].keys() == tags for one in found)


def test_the_pages_of_single_series_have_curves_alone(address):
    time_series = answer(address, "plugin/timeseries/tags")["scalars"]["runTagInfo"]
    for runs in (time_series, answer(address, "plugin/scalars/tags")):
        charts = {f"{chart}/{curve}" for chart in CHARTS for curve in CURVES}
        assert {tag for tags in runs.values() for tag in tags} == charts


def test_the_learned_functions_are_among_the_pictures(address):
    pictures = answer(address, "plugin/images/tags")
    assert "mnist_lenet/learned functions" in pictures["mnist_lenet/PAU"]
    assert "mnist_lenet/ReLU" not in pictures


def test_the_time_series_have_a_card_per_experiment(browser, address):
    browser.open(page(address, "timeseries"), height=2400)  # what is out of sight is not loaded
    digits = "digits_lenet, trainer.max_epochs=5"
    # Below a chart its table names each line: here the groups of one experiment.
    browser.wait_for(lambda texts: texts.count(f"{digits}/PAU") > 1)
    texts = browser.texts()
    heading = next(
        i for i, text in enumerate(texts) if texts[i : i + 2] == [digits, f"{len(CURVES)} cards"]
    )
    after = texts[heading : texts.index("mnist_lenet", heading)]
    assert {f"{digits}/PAU", f"{digits}/ReLU"} < set(after)
    assert not any(text.startswith("mnist_lenet") for text in after)


def column(texts, names):
    """Return the cells of the HParams table that say one of the names, from top to bottom."""
    table = texts[texts.index("Trial ID") :] if "Trial ID" in texts else []
    return [text for text in table if text in names]


def test_hyperparameters_sort_by_final_accuracy(browser, address):
    browser.open(page(address, "hparams"))
    names = ["mnist_lenet/ReLU", "mnist_lenet/Swish", "mnist_lenet/RPAU", "mnist_lenet/PAU"]
    browser.wait_for(lambda texts: len(column(texts, names)) == 4)
    texts = browser.texts()
    start = texts.index("Trial ID")
    assert texts[start + 2 : start + 10] == [
        "activation", "activation.init", "experiment", "trainer.max_epochs",
        "test accuracy", "std", "best", "seeds",
    ]  # fmt: skip
    browser.click("paper-item", "test accuracy")
    browser.click("paper-item", "Descending")
    browser.wait_for(lambda texts: column(texts, names) == ["mnist_lenet/PAU", *names[2::-1]])
    browser.click("paper-item", "Ascending")
    browser.wait_for(lambda texts: column(texts, names) == names)


def test_what_has_finished_since_is_shown(browser, runs, tmp_path):
    runs.sweep("mnist_lenet", ["pau"], seeds=2)
    dashboard, _ = show(runs, tmp_path)
    dashboard.update()
    address = serve(str(tmp_path / "log"), ["--port", "0", "--reload_interval", "1"])
    browser.open(page(address, "hparams"))
    browser.wait_for(lambda texts: column(texts, ["2.0000"]))
    runs.finish("mnist_lenet", "pau", 2)
    dashboard.update()

    def reloaded(texts):
        if shown := column(texts, ["2.0000", "3.0000"]):
            browser.open(page(address, "hparams"))
        return shown == ["3.0000"]

    browser.wait_for(reloaded)


def test_single_runs_sort_by_final_accuracy_too(browser, tiny_run):
    accuracies = {}
    for activation in ("relu", "sigmoid"):
        run = tiny_run(f"activation={activation}")
        accuracies[activation] = fit(run).test_accuracy
    address = serve(run.config.runs_dir, ["--port", "0"])
    browser.open(page(address, "hparams"), width=1800)
    browser.wait_for(lambda texts: len(column(texts, ["relu", "sigmoid"])) == 2)
    texts = browser.texts()
    table = texts[texts.index("Trial ID") :]
    assert table[2:6] == ["activation", "experiment", "seed", "trainer.max_epochs"]
    assert {"accuracy/test", "loss/train"} < set(table)
    assert {f"{accuracy:#.5g}" for accuracy in accuracies.values()} < set(table)
    browser.click("paper-item", "accuracy/test")
    for direction, reverse in (("Ascending", False), ("Descending", True)):
        expected = sorted(accuracies, key=accuracies.get, reverse=reverse)
        browser.click("paper-item", direction)
        browser.wait_for(lambda texts, names=expected: column(texts, names) == names)
