"""The handwritten digits that come with scikit-learn."""

from __future__ import annotations

import numpy as np
import torch

from pade_bench.data.loader import Normalization, Split
from pade_bench.data.module import RotatedImages, resize


class Digits(RotatedImages):
    """1,797 handwritten digits, 8×8 resized to 32×32: real data without a download.

    The test set of Alpaydın and Kaynak's *Optical Recognition of Handwritten Digits* (UCI, 1998).
    It has no official split; here it is a stratified one, 1,437 images to train and 360 to test,
    the same for every seed. ``root`` is not used.
    """

    in_channels = 1
    num_classes = 10
    normalization = Normalization(mean=(0.3057,), std=(0.3235,))  # of the train split [derived]

    def load(self) -> tuple[Split, Split]:
        """Return the two splits."""
        # Imported here, as other runs need not wait for it.
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        gray = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # published as 0 to 16
        images = resize(torch.from_numpy(gray).unsqueeze(1), self.image_size)
        labels = torch.from_numpy(digits.target).long()
        train, test = (
            torch.from_numpy(part)
            for part in train_test_split(
                np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0
            )
        )
        return Split(images[train], labels[train]), Split(images[test], labels[test])
