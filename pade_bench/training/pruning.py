"""The lottery-ticket experiment (Fig. 4, A.4.3): train, prune filters, start over, and so on.

Each run of the chain has a home and a record of its own. Starting the chain again goes on with the
first run that is not finished.
"""

from __future__ import annotations

from collections.abc import Sequence

from pade_bench.errors import ConfigurationError
from pade_bench.models.filters import (
    FilterGroup,
    Filters,
    check_share,
    filter_groups,
    strongest_filters,
)
from pade_bench.models.layers import channel_multiplier
from pade_bench.report.tables import Cell, Table, no_value
from pade_bench.report.tables.terminal import print_table
from pade_bench.runs.home import Run
from pade_bench.runs.progress_lines import pruned_line
from pade_bench.runs.record import FINISHED, Record
from pade_bench.training.console import print_next
from pade_bench.training.fit import fit, make_classifier, make_data
from pade_bench.training.pruned import Pruned, example, read_filters
from pade_bench.training.reload import rebuild


def fit_chain(runs: Sequence[Run]) -> list[Record]:
    """Train the runs of a chain one after another; return their records.

    A run that diverges ends the chain: it leaves no weights to prune by.

    Raises:
        ConfigurationError: as :func:`check_chain`.
        DataError, RunError: as :func:`pade_bench.training.fit`.
    """
    groups = check_chain(runs)
    records: list[Record] = []
    before: Run | None = None
    for run in runs:
        print(f"\n{pruned_line(run.pruned_share or 0.0)}", flush=True)
        done = not run.config.restart and run.sound_record() is not None
        pruned = None if before is None or done else _prune(before, run, groups)
        records.append(fit(run, pruned))
        if records[-1].status != FINISHED:
            break
        before = run
    print_table(costs_table(records), text_columns=())
    print_next(runs[0])
    return records


def check_chain(runs: Sequence[Run]) -> list[FilterGroup]:
    """Return the groups of filters of the network before any pruning.

    Raises:
        ConfigurationError: a share would take the last filter of a layer, which is named; or the
            activation takes several channels for one (Maxout), which the paper leaves out.
    """
    classifier = make_classifier(runs[0])
    kind = classifier.activation_type
    for module in classifier.modules():
        if type(module) is kind and channel_multiplier(module) != 1:
            raise ConfigurationError(
                f"activation: a network with {kind.__name__} cannot be pruned. Each of its "
                "channels has several filters; the paper leaves Maxout out too (section 4.4)."
            )
    groups = filter_groups(classifier.network, kind, example(make_data(runs[0])))
    for run in runs:
        check_share(groups, run.pruned_share or 0.0)
    return groups


def _prune(before: Run, run: Run, groups: Sequence[FilterGroup]) -> Pruned:
    """Return what a run takes from the finished one before it."""
    trained = rebuild(before)
    filters: Filters = read_filters(before) or {g.name: list(range(g.filters)) for g in groups}
    settings, share = run.config.prune, run.pruned_share
    assert share is not None
    kept = strongest_filters(trained.network, groups, filters, share, settings.filter_score)
    learned = {}
    if settings.activations == "learned":
        learned = {
            f"{name}.{key}": value
            for name, module in trained.network.named_modules()
            if type(module) is trained.activation_type
            for key, value in module.state_dict().items()
        }
    return Pruned(kept, learned)


def costs_table(records: Sequence[Record]) -> Table:
    """Return a row for each run: what it reached, and what its network costs."""
    columns = ("pruned", "test accuracy", "parameters", "multiply-adds", "inference")
    table = Table("costs", "What pruning costs and saves", [("", name) for name in columns])
    for record in records:
        accuracy, pruning = record.test_accuracy, record.pruning
        assert pruning is not None
        before, share = pruning.unpruned, pruning.inference_share
        table.rows.append([
            Cell(f"{pruning.pruned_share:g} %"),
            no_value("diverged") if accuracy is None else Cell(f"{accuracy:.2f} %"),
            Cell(f"{record.parameters:,} ({record.parameters / before.parameters:.0%})"),
            Cell(f"{pruning.multiply_adds:,} ({pruning.multiply_adds / before.multiply_adds:.0%})"),
            no_value() if share is None
            else Cell(f"{pruning.inference_milliseconds:.1f} ms ({share:.0%})"),
        ])  # fmt: skip
    return table
