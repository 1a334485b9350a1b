"""The Padé unit in C++ and CUDA, shipped as sources and compiled at first use."""
