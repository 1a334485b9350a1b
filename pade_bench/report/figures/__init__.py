"""The figures, drawn with matplotlib from groups of runs: a module for each kind."""
