"""Tables in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from pade_bench.report.groups import Group, legend
from pade_bench.report.leaderboard import across, boards, verdict_across
from pade_bench.report.names import count
from pade_bench.report.tables import BEST, MISSING, SECOND, Table
from pade_bench.report.tables.leaderboard import across_table, board_table

BOARDS_SHOWN = 10
PIPE_WIDTH = 200  # characters of a line where there is no terminal


def print_table(table: Table, text_columns: Sequence[int] = (0,)) -> None:
    """Print a table to standard output, without its title and notes.

    A terminal too narrow for it shows its first columns, and the names of the others.

    Args:
        table: what to print.
        text_columns: the columns that are flush left and may be broken into lines.
    """
    console, wide, n = _console(), Console(width=1000), len(table.columns)
    while n > 2 and wide.measure(_shown(table, n, text_columns)).maximum > console.width:
        n -= 1
    console.print(_shown(table, n, text_columns))
    if n < len(table.columns):
        names = ", ".join(name for _, name in table.columns[n:])
        console.print(Text(f"(a wider terminal shows: {names})", "dim"))


def _shown(table: Table, n: int, text_columns: Sequence[int]) -> RichTable:
    """Return the first n columns of a table for rich."""
    styles = {BEST: "bold", SECOND: "underline", MISSING: "dim"}
    shown = RichTable(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for i, (group, name) in enumerate(table.columns[:n]):
        heading = Text(f"{group}:\n{name}" if group else name)
        if i in text_columns:
            shown.add_column(heading, vertical="bottom", overflow="fold")
        else:
            shown.add_column(heading, justify="right", vertical="bottom", no_wrap=True)
    for row in table.rows:
        shown.add_row(*(Text(cell.text, styles.get(cell.mark, "")) for cell in row[:n]))
    return shown


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


def print_leaderboard(groups: Sequence[Group]) -> None:
    """Print the rankings of groups of runs and the verdicts, those across experiments last.

    Of many settings the first are shown, and how to see the others is said.
    """
    console, found = _console(), boards(groups)
    for board in found[:BOARDS_SHOWN]:
        console.print(Text(f"\n{board.title}", "bold"))
        print_table(board_table(board, ""))
        console.print(Text(board.verdict))
    if len(found) > BOARDS_SHOWN:
        more = f"\n{count(len(found) - BOARDS_SHOWN, 'more ranking')} of other settings: name some "
        console.print(Text(f"{more}by --experiment or --set, or make the report."))
    pruned = sum(len(group.finished) for group in groups if group.pruned_share is not None)
    if pruned:
        console.print(
            f"\n{count(pruned, 'run')} of pruning: the report compares them, in Figure 4."
        )
    if rows := across(found):
        console.print(Text("\nAcross experiments", "bold"))
        print_table(across_table(rows))
        console.print(Text(verdict_across(rows)))
    for line in legend(group for board in found[:BOARDS_SHOWN] for group in board.groups):
        console.print(Text(line))
