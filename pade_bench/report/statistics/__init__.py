"""The statistics of the report: intervals over seeds, paired tests, ranks.

The unit of comparison is a *block*: one experiment with one seed. Within a block activations see
the same images in the same order, so their differences are paired. Blocks of one experiment
are repetitions, not new problems: what follows from them holds for these experiments.
"""

from collections.abc import Mapping

Block = tuple[str, int]  # (experiment, seed)
# By activation, by block: test accuracy in percent, None where the run diverged.
Scores = Mapping[str, Mapping[Block, float | None]]

ALPHA = 0.05  # the level of every test, and 1 − ALPHA of every interval
