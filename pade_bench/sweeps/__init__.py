"""Many runs from one command: what they are, their state, and a process of its own for each.

``hydra_plugin/_sweeper.py`` is what Hydra calls for ``-m``: it expands the command line to jobs,
leaves out what is done, and hands the rest to one of Hydra's launchers. ``isolated.py`` is the task
that every launcher runs, wherever it does: it starts ``python -m pade_bench`` for one job and
watches it. ``jobs.py`` tells the state of jobs from what lies on the disk, which is all that
counts: the launchers' own returns are lost whenever one of their processes is.
"""
