"""RPAU's noise: the generator, its statistics, and that every path draws the same numbers."""

import pytest
import torch
from scipy import stats

from pade_bench import functional
from pade_bench.ops import FORMS, Unit, cpu, noise, reference

N = 1 << 16
NUMERATOR = torch.tensor([0.02, 0.5, 1.1, 0.9, 0.3, 0.03])
DENOMINATOR = torch.tensor([-0.2, 0.8, 0.05, 0.07])


def philox_by_hand(counter, key, rounds):
    """Philox4x32 in Python integers, as the paper writes it."""
    c, k = list(counter), list(key)
    for _ in range(rounds):
        p0, p1 = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [
            (p1 >> 32) ^ c[1] ^ k[0],
            p1 % 2**32,
            (p0 >> 32) ^ c[3] ^ k[1],
            p0 % 2**32,
        ]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


# "kat_vectors" of the authors' Random123 library: philox4x32, counter and key, 7 and 10 rounds.
KNOWN_ANSWERS = [
    (7, [0] * 4, [0] * 2, [0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48]),
    (10, [0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
]


@pytest.mark.parametrize(("rounds", "counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_the_published_answers(rounds, counter, key, answer):
    assert philox_by_hand(counter, key, rounds) == answer


def test_torch_philox_matches_integer_arithmetic():
    seed, offset = 0x3456_789A_BCDE_F012, 0x2BCD_EF01_2345_6789
    elements = torch.tensor([0, 1, 2**32 - 1, 2**32, 5 * 2**32 + 7])
    for draw in range(3):
        words = torch.stack(noise.philox(elements, torch.tensor([seed, offset]), draw), dim=-1)
        for element, drawn in zip(elements.tolist(), words.tolist(), strict=True):
            high = (offset >> 32) | draw << 30
            counter = [element % 2**32, element >> 32, offset % 2**32, high]
            assert drawn == philox_by_hand(counter, [seed % 2**32, seed >> 32], noise.ROUNDS)


def drawn(count=10, state=(11, 13), size=N):
    """The integers k in [0, 4096) behind the noise: (count, size)."""
    words = noise.philox(torch.arange(size), torch.tensor(state))
    return torch.stack(noise.fields(words)[:count])


def test_every_field_is_uniform():
    for k in drawn():
        counts = torch.bincount(k, minlength=4096)
        assert stats.chisquare(counts.numpy()).pvalue > 1e-4


def test_every_bit_serves_one_field_at_most():
    # Flip one bit of the draw at a time: at most one field changes.
    zero = [torch.zeros(1, dtype=torch.int64) for _ in range(4)]
    changed = []
    for word in range(4):
        for bit in range(32):
            words = [w | (1 << bit if i == word else 0) for i, w in enumerate(zero)]
            changed.append([j for j, k in enumerate(noise.fields(words)) if k.item()])
    assert all(len(fields) <= 1 for fields in changed)
    assert [sum([j] == fields for fields in changed) for j in range(10)] == [12] * 10


def test_noise_is_symmetric_with_mean_zero():
    all_values = torch.arange(4096, dtype=torch.float64)
    u = (2 * all_values + 1) / 4096 - 1
    assert u.sum() == 0
    assert torch.equal(u, -u.flip(0))


def assert_independent(first, second):
    """Chi-square test of independence of two rows of integers, in 16 x 16 cells."""
    cells = torch.bincount((first >> 8) * 16 + (second >> 8), minlength=256)
    assert stats.chisquare(cells.numpy()).pvalue > 1e-5


def test_coefficients_of_an_element_are_independent():
    ks = drawn()
    for i in range(10):
        for j in range(i):
            assert_independent(ks[i], ks[j])


def test_neighbouring_elements_are_independent():
    for k in drawn():
        for lag in (1, 2, 8, 4096):
            assert_independent(k[:-lag], k[lag:])


@pytest.mark.parametrize("other", [(12, 13), (11, 14), (11, 13 + (1 << 32)), (11 + (1 << 40), 13)])
def test_calls_are_independent(other):
    for first, second in zip(drawn(), drawn(state=other), strict=True):
        assert_independent(first, second)


def test_more_than_ten_coefficients_draw_again():
    state = torch.tensor([3, 5])
    factors = noise.factors(torch.arange(N), state, 1.0, 21, torch.float64)
    ks = ((torch.stack(factors) * 4096 - 1) / 2).round().long()
    assert_independent(ks[0], ks[10])
    assert_independent(ks[10], ks[20])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("m", "n"), [(5, 4), (10, 10)])
def test_kernel_draws_bitwise_the_noise_of_the_reference(m, n, dtype):
    # With noise = 1 the factors are (2 k + 1) / 4096, exact in any type.
    state, size = torch.tensor([0x7EDC_BA98_7654_3210, (1 << 62) - 3]), 5000
    factors = noise.factors(torch.arange(size), state, 1.0, m + 1 + n, dtype)
    x, zeros = torch.ones(size, dtype=dtype), torch.zeros(n, dtype=dtype)
    for j, alone in enumerate(torch.eye(m + 1, dtype=dtype)):
        y = cpu.forward(x, Unit(alone, zeros, "sum_of_abs", state, 1.0))
        assert torch.equal(y, factors[j]), f"numerator {j}"
    for k, alone in enumerate(torch.eye(n, dtype=dtype)):
        a0 = torch.eye(m + 1, dtype=dtype)[0]
        y = cpu.forward(x, Unit(a0, alone, "sum_of_abs", state, 1.0))
        wanted = factors[0] * (1 / (1 + factors[m + 1 + k]))
        assert torch.equal(y, wanted), f"denominator {k}"


def test_backward_draws_the_noise_of_the_forward_pass():
    x = torch.linspace(-2, 2, 3001, dtype=torch.float64, requires_grad=True)
    a, b = (t.double().requires_grad_() for t in (NUMERATOR, DENOMINATOR))
    torch.manual_seed(0)
    y = functional.rpau(x, a, b, noise=0.2)
    torch.manual_seed(0)
    state = noise.noise_state(x.device)
    wanted = reference.formula(x, Unit(a, b, "abs_of_sum", state, 0.2))
    torch.testing.assert_close(y, wanted)
    grad = torch.randn_like(y)
    torch.testing.assert_close(
        torch.autograd.grad(y, (x, a, b), grad), torch.autograd.grad(wanted, (x, a, b), grad)
    )


def test_manual_seed_reproduces_the_noise():
    x = torch.randn(1000)
    torch.manual_seed(7)
    first = [functional.rpau(x, NUMERATOR, DENOMINATOR) for _ in range(2)]
    torch.manual_seed(7)
    second = [functional.rpau(x, NUMERATOR, DENOMINATOR) for _ in range(2)]
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_consecutive_calls_differ():
    x = torch.randn(1000)
    first, second = (functional.rpau(x, NUMERATOR, DENOMINATOR) for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("form", FORMS)
def test_evaluation_is_exactly_pau(form):
    x = torch.randn(1000)
    before = torch.get_rng_state()
    y = functional.rpau(x, NUMERATOR, DENOMINATOR, form, training=False)
    assert torch.equal(y, functional.pau(x, NUMERATOR, DENOMINATOR, form))
    assert torch.equal(torch.get_rng_state(), before)


def test_no_noise_is_pau():
    x = torch.randn(1000)
    y = functional.rpau(x, NUMERATOR, DENOMINATOR, noise=0.0)
    torch.testing.assert_close(y, functional.pau(x, NUMERATOR, DENOMINATOR))


def test_coefficients_stay_within_the_noise():
    # A unit that is its constant coefficient shows c_ij itself.
    a, b = 2 * torch.eye(6)[0], torch.zeros(4)
    y = functional.rpau(torch.zeros(N), a, b, noise=0.1)
    assert 1.8 < y.min() < 1.8002
    assert 2.1998 < y.max() < 2.2
    assert abs(y.mean() - 2) < 0.003
