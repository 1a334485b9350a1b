"""Sweepers, installed as ``hydra_plugins.pade_bench``: Hydra takes plugins from there alone.

Their modules begin with ``_``, so that Hydra does not import them into every other program that
uses it: ``pade_bench.__main__`` registers them.
"""
