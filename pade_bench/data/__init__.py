"""Data sets: in memory on the device that trains, or decoded from files by worker processes."""

from pade_bench.data.cifar10 import CIFAR10
from pade_bench.data.digits import Digits
from pade_bench.data.image_folder import ImageFolder
from pade_bench.data.imagenet import ImageNet
from pade_bench.data.mnist import MNIST, FashionMNIST
from pade_bench.data.module import ImageDataModule
from pade_bench.data.torchvision_data import TorchvisionData

__all__ = [
    "CIFAR10",
    "MNIST",
    "Digits",
    "FashionMNIST",
    "ImageDataModule",
    "ImageFolder",
    "ImageNet",
    "TorchvisionData",
]
