"""Data sets that live in memory as uint8, on the device that trains, and are augmented there."""

from pade_bench.data.cifar10 import CIFAR10
from pade_bench.data.digits import Digits
from pade_bench.data.mnist import MNIST, FashionMNIST

__all__ = ["CIFAR10", "MNIST", "Digits", "FashionMNIST"]
