"""The paper's networks, as its parameter counts in A.3.1 and A.4.2 fix them."""

import pytest
import torch
from torch import nn

from pade_bench import PAU, build_model
from pade_bench.activations import Maxout
from pade_bench.errors import ConfigurationError


def count(module):
    return sum(p.numel() for p in module.parameters())


# (network, channels of the input): (fixed activation, activation layers)
NETWORKS = {
    ("lenet", 1): (61_706, 4),
    ("vgg8", 1): (9_224_458, 5),
    ("vgg8", 3): (3_918_858, 5),
    ("mobilenetv2", 3): (2_296_922, 36),
    ("resnet101", 3): (42_512_970, 100),
    ("densenet121", 3): (6_956_298, 120),
    ("mobilenetv2_imagenet", 3): (3_504_872, 35),  # torchvision's; the paper has no count
}
MAXOUT = {  # [paper], but for DenseNet121 [derived]: the paper did not run that
    ("vgg8", 3): 7_829_642,
    ("mobilenetv2", 3): 3_524_506,
    ("resnet101", 3): 75_454_090,
    ("densenet121", 3): 13_902_346,
}
FOR_SMALL_IMAGES = [key for key in NETWORKS if key[0] != "mobilenetv2_imagenet"]
each = pytest.mark.parametrize(("name", "channels"), FOR_SMALL_IMAGES)


def build(name, channels, activation, classes=None):
    classes = classes or (1000 if name == "mobilenetv2_imagenet" else 10)
    return build_model(name, activation, in_channels=channels, num_classes=classes)


@pytest.mark.parametrize(("name", "channels"), NETWORKS)
def test_parameter_counts_are_the_papers(name, channels):
    fixed, layers = NETWORKS[name, channels]
    relu, pau = build(name, channels, "relu"), build(name, channels, "pau")
    assert count(relu) == fixed
    assert count(pau) == fixed + 10 * layers
    assert sum(isinstance(m, PAU) for m in pau.modules()) == layers
    assert sum(isinstance(m, nn.ReLU) for m in relu.modules()) == layers


@pytest.mark.parametrize(("name", "channels"), MAXOUT)
def test_parameter_counts_with_maxout_are_the_papers(name, channels):
    assert count(build(name, channels, "maxout")) == MAXOUT[name, channels]


@each
@pytest.mark.parametrize("activation", ["relu", "pau", "maxout"])
def test_32x32_images_become_logits(name, channels, activation):
    network = build(name, channels, activation, classes=7)
    assert network(torch.randn(2, channels, 32, 32)).shape == (2, 7)


@each
def test_with_maxout_every_activation_reads_a_layer_twice_as_wide(name, channels):
    network = build(name, channels, "maxout").eval()
    shapes = []
    for module in network.modules():
        if isinstance(module, Maxout):
            module.register_forward_hook(lambda m, x, y: shapes.append((x[0].shape, y.shape)))
    network(torch.randn(1, channels, 32, 32))
    # In ResNet101 nothing follows a sum with the input itself: 4 of 33 blocks project theirs.
    layers = NETWORKS[name, channels][1]
    assert len(shapes) == (layers - 29 if name == "resnet101" else layers)
    for before, after in shapes:
        assert before[1] == 2 * after[1]


def test_imagenet_images_become_logits():
    network = build_model("mobilenetv2_imagenet", "pau", in_channels=3, num_classes=7).eval()
    assert network(torch.randn(1, 3, 224, 224)).shape == (1, 7)


@each
def test_each_layer_has_an_activation_of_its_own(name, channels):
    network = build(name, channels, "pau")
    units = [m for m in network.modules() if isinstance(m, PAU)]
    assert len({id(u.numerator) for u in units}) == len(units)
    # A unit that is used twice would run twice.
    runs = []
    for unit in units:
        unit.register_forward_hook(lambda m, x, y: runs.append(m))
    network(torch.randn(2, channels, 32, 32))
    assert len(runs) == len(units)
    assert set(runs) == set(units)


@pytest.mark.parametrize(("name", "channels"), [k for k in NETWORKS if k[0] != "resnet101"])
def test_initial_weights_do_not_depend_on_the_activation(name, channels):
    weights = []
    for activation in ("relu", "pau", "srelu", "apl", "slaf"):
        torch.manual_seed(3)
        network = build(name, channels, activation)
        layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        weights.append([p for layer in layers for p in layer.parameters()])
    for other in weights[1:]:
        for a, b in zip(weights[0], other, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["mobilenetv2", "resnet101", "densenet121"])
def test_one_channel_is_a_channel(name):
    assert build_model(name, "relu")(torch.randn(2, 1, 32, 32)).shape == (2, 10)


def test_an_unknown_network_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigurationError, match=r"model='lennet'.*Did you mean 'lenet'"):
        build_model("lennet", "relu")


def test_an_unknown_activation_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigurationError, match=r"activation='pua'.*Did you mean 'pau'"):
        build_model("lenet", "pua")


@pytest.mark.parametrize("name", ["vgg8", "mobilenetv2_imagenet"])
def test_channels_that_a_network_has_no_form_for_are_refused(name):
    with pytest.raises(ConfigurationError, match="not 2"):
        build_model(name, "relu", in_channels=2)


def test_maxout_on_imagenet_is_refused():
    with pytest.raises(ConfigurationError, match="cannot be widened"):
        build_model("mobilenetv2_imagenet", "maxout", in_channels=3)
