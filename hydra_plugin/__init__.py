"""Sweepers, installed as ``hydra_plugins.pade_bench``: Hydra takes plugins from there alone."""
