"""A converted network computes what it did before."""

import copy

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from pade_bench import PAU, RPAU, convert_activations
from pade_bench.errors import ConfigurationError


def images(size=64, number=8):
    return torch.randn(number, 3, size, size, generator=torch.Generator().manual_seed(0))


def torchvisions(name):
    torch.manual_seed(0)
    return torchvision.models.get_model(name).eval()


def timms(name, **settings):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    return timm.create_model(name, **settings).eval()


@torch.no_grad()
def change(network, x, **settings):
    """Return the relative change of the logits by conversion."""
    converted = copy.deepcopy(network)
    convert_activations(converted, "pau", **settings)
    before, after = network(x), converted(x)
    assert after.isfinite().all()
    return ((after - before).norm() / before.norm()).item()


@pytest.mark.parametrize(
    "make",
    [lambda: torchvisions("efficientnet_b0"),
     lambda: timms("vit_tiny_patch16_224", img_size=64),
     lambda: timms("convnext_atto", ls_init_value=1.0)],
    ids=["efficientnet_b0, silu", "vit, gelu", "convnext, gelu"],
)  # fmt: skip
def test_networks_with_gelu_and_silu_change_by_less_than_a_hundredth(make):
    assert change(make(), images()) <= 0.01


@pytest.mark.parametrize(
    "make",
    [lambda: torchvisions("resnet18"),
     lambda: torchvisions("mobilenet_v2"),
     lambda: torchvisions("mobilenet_v3_small"),
     lambda: timms("resnet10t")],
    ids=["resnet18, relu", "mobilenet_v2, relu6", "mobilenet_v3, hardswish", "resnet10t, relu"],
)  # fmt: skip
def test_networks_with_kinks_change_by_half_as_much_as_from_leaky_relu(make, request):
    x, network = images(), make()
    todays = change(network, x, init="lrelu_0.01")
    fitted = change(network, x, inputs=[x])
    by_noise = change(network, x, example_input=torch.randn(2, 3, 64, 64))
    assert max(fitted, by_noise) <= 0.5 * todays
    assert fitted < 0.1
    # In MobileNetV2 with random weights 1e-9 arrives, where its coefficients could overflow.
    assert by_noise < (3 if "relu6" in request.node.name else 0.1)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_some_with_kinks_do_so_although_nothing_is_known_of_their_inputs(name):
    x, network = images(), torchvisions(name)
    assert change(network, x) <= 0.5 * change(network, x, init="lrelu_0.01")


def digits():
    sklearn = pytest.importorskip("sklearn.datasets")
    data = sklearn.load_digits()
    return torch.tensor(data.images[:, None] / 16).float(), torch.tensor(data.target)


@pytest.mark.parametrize("activation", [nn.GELU, nn.SiLU, nn.ReLU, nn.ReLU6, nn.Hardswish])
def test_a_trained_network_keeps_its_decisions(activation):
    torch.manual_seed(0)
    x, labels = digits()
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), activation(),
        nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), activation(),
        nn.Flatten(), nn.Linear(256, 32), activation(), nn.Linear(32, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(3):
        for chosen in torch.randperm(1500).split(50):
            optimizer.zero_grad()
            F.cross_entropy(network(x[chosen]), labels[chosen]).backward()
            optimizer.step()
    tested, right = x[1500:], labels[1500:]
    with torch.no_grad():
        before = network.eval()(tested)
    assert (before.argmax(1) == right).float().mean() > 0.9
    todays = change(network, tested, init="lrelu_0.01")
    matched = change(network, tested)
    fitted = change(network, tested, inputs=[[x[:500], labels[:500]]])
    by_noise = change(network, tested, example_input=torch.randn(2, 1, 8, 8))
    if activation in (nn.GELU, nn.SiLU):
        assert max(matched, by_noise, fitted) < 0.01 < 0.2 < todays
    else:
        assert fitted < 0.03
        assert max(matched, by_noise, fitted) < 0.5 * todays
    convert_activations(network, "pau", inputs=[x[:500]])
    with torch.no_grad():
        same = (network(tested).argmax(1) == before.argmax(1)).float().mean()
    assert same > 0.99  # all but two of 297: the weights, and what is near a tie, differ by machine


def small(activation):
    return nn.Sequential(nn.Linear(4, 4), activation, nn.Linear(4, 2))


@pytest.mark.parametrize("activation", ["pau", "rpau", PAU, RPAU, {"_target_": "pade_bench.PAU"}])
def test_units_that_say_no_start_match(activation):
    network = small(nn.GELU())
    (done,) = convert_activations(network, activation)
    x = torch.linspace(-3, 3, 101)
    assert (network[1].eval()(x) - F.gelu(x)).abs().max() <= done.start.error < 0.04
    assert (done.init, done.start) == ("GELU", network[1].start)


@pytest.mark.parametrize(
    "activation", [lambda: PAU(init="tanh"), {"_target_": "pade_bench.PAU", "init": "tanh"}]
)
def test_units_that_say_their_start_keep_it(activation):
    network = small(nn.GELU())
    (done,) = convert_activations(network, activation)
    assert (done.init, network[1].init) == ("tanh", "tanh")
    convert_activations(network, activation, init="match")
    assert network[1].init == "PAU"


@pytest.mark.parametrize(("init", "name"), [("silu", None), ("swish", "swish"), (F.silu, "silu")])
def test_every_unit_may_start_from_one_function(init, name):
    network = small(nn.ReLU())
    if name is None:
        with pytest.raises(ConfigurationError, match="init='silu'"):
            convert_activations(network, "pau", init=init)
        assert isinstance(network[1], nn.ReLU)
    else:
        convert_activations(network, "pau", init=init)
        assert network[1].init == name


@pytest.mark.parametrize("activation", ["relu", "prelu", nn.ReLU])
def test_a_start_for_an_activation_that_has_none_is_refused(activation):
    network = small(nn.GELU())
    with pytest.raises(ConfigurationError, match=r"init='match' is for Padé units.*ReLU does not"):
        convert_activations(network, activation, init="match")
    assert isinstance(network[1], nn.GELU)
    (done,) = convert_activations(network, activation)  # as a default it is ignored
    assert done.start is None


@pytest.mark.parametrize(
    "old",
    [nn.ReLU6(), nn.PReLU(init=0.3), nn.RReLU(), nn.LeakyReLU(0.2), nn.Softplus(beta=2), PAU()],
    ids=lambda m: type(m).__name__,
)
def test_units_match_what_stood_there_with_its_settings(old):
    network = small(old)
    x = torch.linspace(-6, 6, 601)
    before = old.eval()(x)
    (done,) = convert_activations(network, "pau")
    assert (network[1](x) - before).abs().max() <= done.start.error + 1e-6 < 1


def test_slopes_for_each_channel_become_their_mean():
    old = nn.PReLU(4)
    with torch.no_grad():
        old.weight.copy_(torch.tensor([0.0, 0.1, 0.2, 0.3]))
    network = small(old)
    convert_activations(network, "pau")
    mean = PAU(init=lambda x: F.leaky_relu(x, 0.15))
    torch.testing.assert_close(network[1].numerator, mean.numerator)


def test_what_is_no_function_of_one_value_is_refused_by_name():
    class Relu(nn.Module):
        def forward(self, x):
            return x.relu() - x.mean(dim=1, keepdim=True)

    network = small(Relu())
    with pytest.raises(ConfigurationError, match=r"^1: Relu is no function .* Give init"):
        convert_activations(network, "pau")
    assert isinstance(network[1], Relu)
    convert_activations(network, "pau", init="lrelu_0.01")


def test_inputs_are_counted_where_they_arrive_and_nothing_else_changes():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(), nn.ReLU())
    calls = []
    network[2].register_forward_hook(lambda *_: calls.append(0))
    state, rng = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(1))
    loader = torch.utils.data.DataLoader(list(zip(x, range(32), strict=True)), batch_size=8)
    arriving = network[:2].eval()(x)
    network.train()
    first, second = convert_activations(network, "pau", inputs=loader)
    assert (first.start.low, first.start.high) == pytest.approx(
        (arriving.min().item(), arriving.max().item())
    )
    assert second.start.low == 0  # the old activation computed meanwhile
    assert len(calls) == 4
    assert torch.equal(torch.get_rng_state(), rng)
    for name, value in state.items():
        assert torch.equal(network.state_dict()[name], value)
    assert network.training
    network(x)
    assert len(calls) == 5


@pytest.mark.parametrize("training", [False, True])
def test_an_example_tells_the_size_of_what_arrives_and_changes_nothing(training):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    with torch.no_grad():
        network[0].weight.mul_(0.05)
    network.train(training)
    state, rng = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    size = copy.deepcopy(network[:2])(x).square().mean().sqrt().item()
    (done,) = convert_activations(network, "pau", example_input=x)
    assert done.start.high / 4 == pytest.approx(size, rel=0.5)  # rounded to a power of 2
    assert (0.9 < size < 1.1) if training else (size < 0.5)
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(network.state_dict()[name], value) for name, value in state.items())
    assert network.training == training


def test_an_example_may_be_several_arguments():
    network = nn.Transformer(8, 2, 1, 1, 16, dropout=0.0, batch_first=True).eval()
    source, target = torch.randn(3, 5, 8), torch.randn(3, 4, 8)
    before = network(source, target)
    done = convert_activations(network, "pau", example_input=(source, target))
    assert all(replacement.start.high < 8 for replacement in done)  # what arrives is small
    assert done.verified
    assert ((network(source, target) - before).norm() / before.norm()) < 0.02


@pytest.mark.parametrize("example", ["meta", torch.jagged, torch.strided], ids=str)
def test_an_example_may_be_without_values_or_nested(example):
    network = small(nn.ReLU())
    if example == "meta":
        network, x = network.to("meta"), torch.empty(3, 4, device="meta")
    else:
        x = torch.nested.nested_tensor([torch.ones(3, 4), torch.ones(2, 4)], layout=example)
    (done,) = convert_activations(network, "pau", example_input=x)
    assert (done.start.high == 8) == (example == "meta")


def test_coefficients_for_tiny_inputs_that_float16_cannot_hold_are_not_used():
    network = small(nn.ReLU()).half()
    example = 1e-3 * torch.randn(8, 4).half()
    with torch.no_grad():
        network[0].bias.zero_()
    (done,) = convert_activations(network, "pau", example_input=example)
    assert done.start.high == 8
    assert network(example).isfinite().all()


def test_batches_may_be_mappings():
    network = torch.nn.TransformerEncoderLayer(8, 2, 16, activation=F.gelu, batch_first=True)
    batches = [{"src": 3 * torch.randn(2, 5, 8)} for _ in range(3)]
    (done,) = convert_activations(network, "pau", inputs=batches, example_input=batches[0])
    assert done.start.high != 8
    assert done.init == "gelu"


def test_of_endless_batches_the_first_are_read():
    def batches():
        while True:
            yield torch.ones(2, 4)

    convert_activations(small(nn.ReLU()), "pau", inputs=batches())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inputs": []}, "inputs gave no batch"),
        ({"inputs": torch.ones(2, 4)}, r"a list of batches, such as \[x\]"),
        ({"inputs": [torch.ones(2, 5)]}, "fails on inputs in evaluation mode"),
        ({"inputs": [torch.ones(2, 4)], "init": "gelu"}, "only units with init='match'"),
    ],
)
def test_inputs_that_cannot_be_used_are_refused(settings, message):
    network = small(nn.ReLU())
    with pytest.raises(ConfigurationError, match=message):
        convert_activations(network, "pau", **settings)
    assert isinstance(network[1], nn.ReLU)


def test_a_network_without_values_matches_when_it_gets_them():
    with torch.device("meta"):
        network = small(nn.PReLU())
        convert_activations(network, "pau")
    network.to_empty(device="cpu")
    network[1].reset_parameters()
    assert network[1](torch.tensor(-2.0)).item() == pytest.approx(-0.5, abs=0.05)
