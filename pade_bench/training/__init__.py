"""Training one run."""

from pade_bench.training.fit import fit
from pade_bench.training.module import Classifier

__all__ = ["Classifier", "fit"]
