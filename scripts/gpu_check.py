"""Check the CUDA kernels and time training steps on the GPU of this machine.

``python scripts/gpu_check.py --help``; the work is ``pade_bench.gpu_check``.
"""

import sys

from pade_bench.gpu_check.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
