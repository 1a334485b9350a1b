"""From run records to the paper's tables and figures: ``python -m pade_bench.report``.

Imports neither torch nor anything that does: a laptop reports on copied runs.
"""
