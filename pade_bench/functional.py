"""The Padé unit as a function, like those of ``torch.nn.functional``."""

from pade_bench.ops import pau

__all__ = ["pau"]
