"""Checks and timings on a GPU: ``python -m pade_bench.gpu_check``, with torch and CuPy alone."""
