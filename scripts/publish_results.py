"""Make the tables and pictures of docs/ from the runs in results/.

    python scripts/publish_results.py [--add RUNS] [--dashboard]

Whatever stands between ``<!-- leaderboard_… -->`` and ``<!-- end -->`` in results.md is replaced by
the verdict and the ranking of that name, likewise ``<!-- pruning_EXPERIMENT -->`` in pruning.md and
``<!-- certified -->`` in certification.md by their tables. ``--add`` first copies the finished runs
of a folder to results/: records, certificates, configurations without the paths of this machine,
and of each configuration one file of learned functions. ``--dashboard`` also photographs
TensorBoard, for which Chromium and its driver have to be installed.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from pade_bench.report import certified
from pade_bench.report.build import build
from pade_bench.report.dashboard import Dashboard
from pade_bench.report.figures.learned import draw_activations
from pade_bench.report.grouping import group_runs
from pade_bench.report.groups import Group
from pade_bench.report.leaderboard import boards
from pade_bench.report.sections import board_suffix
from pade_bench.report.tables import Table
from pade_bench.report.tables.formats import to_markdown
from pade_bench.report.tables.leaderboard import board_table
from pade_bench.report.tables.pruning import pruning_table
from pade_bench.runs.config_file import with_digest
from pade_bench.runs.curves import load_curves
from pade_bench.runs.records import read_runs

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "results" / "runs"
PAGE = ROOT / "docs" / "results.md"
PRUNING = ROOT / "docs" / "pruning.md"
CERTIFICATION = ROOT / "docs" / "certification.md"
PICTURES = {  # by name in docs/, what it is called in the report
    "results_mnist_leaderboard": "leaderboard_mnist_lenet",
    "results_mnist_time": "time_mnist_lenet",
    "results_mnist_curves": "figure6",
    "results_mnist_learned": "figure3",
    "results_digits_leaderboard": "leaderboard_digits_lenet",
    "results_digits_time": "time_digits_lenet",
    "results_digits_curves": "curves_digits_lenet",
    "results_digits_ranks": "ranks_digits_lenet",
    "pruning_digits_lenet": "figure4",
    "certification_mnist": "certified",
}
CERTIFIED = re.compile(r"<!-- certified -->\n.*?<!-- end -->", re.DOTALL)
TABLES = re.compile(r"<!-- ((?:leaderboard|pruning)_\S+) -->\n.*?<!-- end -->", re.DOTALL)
COLORS = 256  # of a picture in the repository: a third of its bytes
TENSORBOARD_SECONDS = 20  # until it has drawn its charts


def published_groups() -> list[Group]:
    """Return the groups of the published runs.

    Raises:
        ValueError: one of their records cannot be used.
    """
    runs, problems = read_runs(RUNS)
    if problems:
        raise ValueError("\n".join(problems))
    return group_runs(runs)


def add(runs_dir: Path) -> None:
    """Copy the finished runs of a directory to the published ones."""
    for run in read_runs(runs_dir)[0]:
        if run.status == "unfinished":
            continue
        home = RUNS / run.directory.relative_to(runs_dir)
        home.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run.directory / "record.json", home / "record.json")
        settings = (run.directory / "config.yaml").read_text(encoding="utf-8").partition("# sha256")
        text = re.sub(r"(?m)^runs_dir: .*$", "runs_dir: runs", settings[0])
        text = re.sub(r"(?m)^  root: .*/(?=[^/\n]+$)", "  root: data/", text)
        (home / "config.yaml").write_bytes(with_digest(text))
        if (certificate := run.directory / "certificate.json").exists():
            shutil.copyfile(certificate, home / "certificate.json")
        curves = run.directory / "activations.npz"
        if curves.exists() and not any(home.parent.glob("*/activations.npz")):
            shutil.copyfile(curves, home / "activations.npz")


def with_tables(page: str, groups: list[Group]) -> str:
    """Return the page with each of its verdicts and rankings, or tables of pruning, made anew."""
    found = {
        f"leaderboard_{board_suffix(*board.scope)}": (
            f"{board.verdict}\n\n{_without_title(board_table(board, ''))}"
        )
        for board in boards(groups)
    }
    for experiment in {group.experiment for group in groups}:
        if table := pruning_table([g for g in groups if g.experiment == experiment]):
            found[f"pruning_{experiment}"] = _without_title(table)
    return TABLES.sub(lambda match: f"<!-- {match[1]} -->\n{found[match[1]]}\n<!-- end -->", page)


def with_certificates(page: str, groups: list[Group]) -> str:
    """Return the page on certification with its table made anew.

    Raises:
        ValueError: a published certificate cannot be used.
    """
    problems: list[str] = []
    table = certified.certified_table(certified.read(groups, problems))
    if problems:
        raise ValueError("\n".join(problems))
    # What is the same in all rows is said once.
    names = [name for _, name in table.columns]
    alike = [i for i in range(len(names)) if len({row[i].text for row in table.rows}) == 1]
    caption = "; ".join(f"{names[i]}: {table.rows[0][i].text}" for i in alike)
    table.notes = [f"{caption}.", *table.notes]
    for i in reversed(alike):
        del table.columns[i]
        for row in table.rows:
            del row[i]
    text = _without_title(table)
    return CERTIFIED.sub(lambda _: f"<!-- certified -->\n{text}\n<!-- end -->", page)


def _without_title(table: Table) -> str:
    return to_markdown(table).split("\n", 2)[2].strip()


def reduced(png: bytes) -> bytes:
    """Return a picture with as many colors as it needs."""
    content = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB").quantize(COLORS)
    picture.save(content, "png", optimize=True)
    return content.getvalue()


def photograph(folder: Path) -> None:
    """Take the pictures of TensorBoard with the published runs."""
    sys.path.insert(0, str(ROOT / "tests"))
    from browser import chromium

    from pade_bench.dashboard import PAGE as CHARTS
    from pade_bench.dashboard import serve

    Dashboard(RUNS, folder).update()
    address = serve(str(folder), ["--port", "0"])
    with chromium() as browser:
        for name, page in (("scalars", CHARTS), ("hparams", "#hparams")):
            browser.open(f"{address}{page}", width=1400, height=1000)
            time.sleep(TENSORBOARD_SECONDS)
            if name == "hparams":
                for choice in ("test accuracy", "Descending"):
                    browser.click("paper-item", choice)
                    time.sleep(1)
            path = ROOT / "docs" / f"dashboard_{name}.png"
            browser.screenshot(path)
            path.write_bytes(reduced(path.read_bytes()))


def main() -> None:
    """Write the page and its pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--add", type=Path, metavar="RUNS", help="publish the runs in this folder")
    parser.add_argument("--dashboard", action="store_true", help="photograph TensorBoard too")
    options = parser.parse_args()
    if options.add:
        add(options.add)
    groups = published_groups()
    for path in (PAGE, PRUNING):
        path.write_text(with_tables(path.read_text(encoding="utf-8"), groups), encoding="utf-8")
    page = with_certificates(CERTIFICATION.read_text(encoding="utf-8"), groups)
    CERTIFICATION.write_text(page, encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        build(groups, [], Path(folder))
        for name, key in PICTURES.items():
            drawn = (Path(folder) / "figures" / f"{key}.png").read_bytes()
            (PAGE.parent / f"{name}.png").write_bytes(reduced(drawn))
    layers = load_curves(RUNS / "mnist_lenet" / "pau" / "seed0" / "activations.npz")
    with io.BytesIO() as content:
        draw_activations(layers, "pau").savefig(content, format="png", dpi=150)
        (PAGE.parent / "learned_activations.png").write_bytes(reduced(content.getvalue()))
    if options.dashboard:
        with tempfile.TemporaryDirectory() as folder:
            photograph(Path(folder))


if __name__ == "__main__":
    main()
