"""TensorBoard with means over seeds: ``python -m pade_bench.dashboard [--runs DIR]``."""

from __future__ import annotations

import argparse
import copy
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tensorboard import default, program
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.metrics.metrics_plugin import MetricsPlugin
from tensorboard.plugins.scalar.scalars_plugin import ScalarsPlugin

from pade_bench.errors import PadeBenchError, exit_with
from pade_bench.report.dashboard import BOUNDS, FINAL_TAG, Dashboard
from pade_bench.runs.files import user_path

SECONDS_BETWEEN_UPDATES = 30
# Where to begin, and without TensorBoard's smoothing: means over seeds are smooth enough.
PAGE = "?smoothing=0#custom_scalars&_smoothingWeight=0"


def main(arguments: list[str] | None = None) -> int:
    """Show the dashboard until the process is interrupted; return 0, or 2 without runs to show."""
    parser = argparse.ArgumentParser(
        prog="python -m pade_bench.dashboard",
        description="Start TensorBoard with the mean and spread over seeds of all finished runs.",
        epilog="Other arguments are TensorBoard's: --port 6007, --bind_all. By default it can be "
        "reached from this machine only.",
    )
    parser.add_argument("--runs", type=user_path, default=Path("runs"), help="default: runs")
    options, others = parser.parse_known_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="pade_bench_dashboard_") as log_dir:
        dashboard = Dashboard(options.runs, Path(log_dir))
        try:
            named = _complain(dashboard.update(), set())
            print(f"{serve(log_dir, others)}{PAGE}", flush=True)
            while True:
                time.sleep(SECONDS_BETWEEN_UPDATES)
                named = _complain(dashboard.update(), named)
        except (PadeBenchError, program.TensorBoardServerException) as error:
            print(f"pade_bench.dashboard: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            return 0


def serve(log_dir: str, arguments: Sequence[str]) -> str:
    """Start TensorBoard in a thread of this process; return its address."""
    ours = {MetricsPlugin: TimeSeries, ScalarsPlugin: Scalars}
    server = program.TensorBoard([ours.get(plugin, plugin) for plugin in default.get_plugins()])
    server.configure(argv=["", "--logdir", log_dir, *arguments])
    return str(server.launch())


class _Curves:
    """TensorBoard's data, without what bounds a band in a chart or is a cell of HParams."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    def list_scalars(self, *args: Any, **kwargs: Any) -> dict[str, dict[str, Any]]:
        found = self._provider.list_scalars(*args, **kwargs)
        return {
            run: {
                tag: series
                for tag, series in tags.items()
                if not tag.endswith(BOUNDS) and not tag.startswith(FINAL_TAG)
            }
            for run, tags in found.items()
        }


def _of_curves(context: TBContext) -> TBContext:
    context = copy.copy(context)
    context.data_provider = _Curves(context.data_provider)
    return context


class TimeSeries(MetricsPlugin):
    """TensorBoard's page of that name, with cards of curves alone."""

    def __init__(self, context: TBContext) -> None:
        super().__init__(_of_curves(context))


class Scalars(ScalarsPlugin):
    """TensorBoard's page of that name, with cards of curves alone."""

    def __init__(self, context: TBContext) -> None:
        super().__init__(_of_curves(context))


def _complain(problems: Sequence[str], named: set[str]) -> set[str]:
    """Print the problems that were not named before; return all that were."""
    for problem in problems:
        if problem not in named:
            print(f"left out: {problem}", file=sys.stderr)
    return named | set(problems)


if __name__ == "__main__":
    exit_with(main)
