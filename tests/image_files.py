"""Image files laid out as ImageNet is, made by the tests."""

import numpy as np
from PIL import Image


def picture(rng, width, height):
    """Return a colorful image with soft shapes and some noise."""
    shapes = rng.integers(0, 256, (4, 5, 3), np.uint8)
    soft = np.asarray(Image.fromarray(shapes).resize((width, height), Image.Resampling.BICUBIC))
    noisy = soft + rng.normal(0, 8, soft.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def write_images(root, classes=3, train=6, test=4, width=60, height=45, seed=0):
    """Write ``train`` and ``val`` with so many images of each class, of about the given size."""
    rng = np.random.default_rng(seed)
    for split, images in (("train", train), ("val", test)):
        for k in range(classes):
            folder = root / split / f"n{k:08d}"
            folder.mkdir(parents=True)
            for i in range(images):
                size = (width + 3 * i, height + 5 * k)
                picture(rng, *size).save(folder / f"{split}_{i}.JPEG", "JPEG", quality=90)


def corrupt(path):
    """Cut the file in half."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
