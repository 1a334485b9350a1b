"""RPAU's noise: the generator, its statistics, and that every path draws the same numbers."""

import ctypes
import platform
import shutil
import subprocess
from importlib.resources import files

import pytest
import torch
from emulator import EmulatedCuda
from scipy import stats

from pade_bench import functional
from pade_bench.ops import FORMS, Unit, cpu, cuda, noise, reference

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
    pairs = torch.tensor([0, 1, 2**32 - 1, 2**32, 5 * 2**32 + 7])
    for draw in range(3):
        words = torch.stack(noise.philox(pairs, torch.tensor([seed, offset]), draw), dim=-1)
        for pair, drawn in zip(pairs.tolist(), words.tolist(), strict=True):
            counter = [
                pair % 2**32,
                pair >> 32 ^ seed % 2**32,
                offset % 2**32,
                offset >> 32 ^ seed >> 32 ^ draw << 30,
            ]
            assert drawn == philox_by_hand(counter, [0, 0], noise.ROUNDS)


# What is drawn below depends on constants alone: a test of statistics passes always or never.
# Limits are such that the best generator fails one of all these tests in a thousand.
LEVELS = 64
STATE = (11, 13)


def drawn(state=STATE, size=N, count=10):
    """The integers k in [0, 64) behind the noise: (count, size)."""
    return torch.stack(noise.drawn(torch.arange(size), torch.tensor(state), count))


def of_pairs(state=STATE, size=N):
    """The twenty integers of each pair of elements: (20, size)."""
    return drawn(state, 2 * size).reshape(10, size, 2).permute(2, 0, 1).reshape(20, size)


def assert_uniform(counts, limit=1e-6):
    assert limit < stats.chisquare(counts.numpy()).pvalue < 1 - limit


def assert_independent(first, second):
    """Chi-square test of two rows of integers, over all 64 x 64 cells."""
    assert_uniform(torch.bincount(first * LEVELS + second, minlength=LEVELS**2), 1e-7)


def test_every_field_is_uniform():
    for k in of_pairs():
        assert_uniform(torch.bincount(k, minlength=LEVELS))


def test_every_bit_serves_one_field_at_most():
    # Flip one bit of the two words of an element at a time: at most one field changes.
    changed = []
    for word in range(2):
        for bit in range(32):
            words = [torch.tensor([1 << bit if i == word else 0]) for i in range(2)]
            changed.append([j for j, k in enumerate(noise.fields(words)) if k.item()])
    assert all(len(fields) <= 1 for fields in changed)
    assert [sum([j] == fields for fields in changed) for j in range(10)] == [6] * 10


def test_noise_is_symmetric_with_mean_zero_and_the_variance_of_a_uniform():
    u = (2 * torch.arange(LEVELS, dtype=torch.float64) + 1) / LEVELS - 1
    assert u.sum() == 0
    assert torch.equal(u, -u.flip(0))
    assert (u.square().mean() * 3 - 1).abs() < 3e-4
    # And so are the factors, in float32 as the kernels compute them.
    alpha = 0.01
    factors = torch.stack(
        noise.factors(torch.arange(N), torch.tensor(STATE), alpha, 10, torch.float32)
    )
    assert (factors - 1).abs().max() <= alpha
    assert (factors - (1 + alpha * ((2 * drawn().double() + 1) / LEVELS - 1))).abs().max() < 1.2e-7


def test_coefficients_of_a_pair_are_independent():
    ks = of_pairs()
    for i in range(20):
        for j in range(i):
            assert_independent(ks[i], ks[j])


def test_three_coefficients_are_independent():
    ks = of_pairs() >> 2  # the four highest bits of each
    for i, j, k in [(0, 1, 2), (4, 5, 6), (0, 5, 9), (8, 9, 10), (0, 10, 11), (5, 15, 19)]:
        cells = torch.bincount((ks[i] * 16 + ks[j]) * 16 + ks[k], minlength=16**3)
        assert_uniform(cells, 1e-6)


def test_neighboring_elements_are_independent():
    for k in drawn():
        for lag in (1, 2, 3, 8, 512, 4096):
            assert_independent(k[:-lag], k[lag:])


@pytest.mark.parametrize(
    "other",
    [
        *((11, 14), (12, 13), (11 + (1 << 31), 13), (11, 13 + (1 << 31))),
        *((11, 13 + (1 << 32)), (11 + (1 << 32), 13), (11 + (1 << 61), 13), (11, 13 + (1 << 61))),
    ],
)
def test_calls_are_independent(other):
    for first, second in zip(drawn(), drawn(other), strict=True):
        assert_independent(first, second)


def test_nothing_is_correlated():
    # Twenty integers of a pair, of the next pair, and of the same pair in other calls.
    size = 1 << 18
    here = of_pairs(size=size + 1)
    calls = [of_pairs(other, size) for other in ((11, 14), (12, 13), (12, 14))]
    rows = torch.cat([here[:, :-1], here[:, 1:], *calls]).double()
    rows = (rows - rows.mean(1, keepdim=True)) / rows.std(1, keepdim=True)
    correlation = (rows @ rows.T / size).fill_diagonal_(0) * size**0.5
    assert correlation.abs().max() < 5.2  # of 4950 standard normal values
    assert abs(correlation.square().sum() / correlation.numel() - 1) < 0.06


def test_every_bit_of_the_counter_changes_half_of_the_draw():
    generator = torch.Generator().manual_seed(0)
    size = 1 << 10
    states = torch.randint(0, 1 << 62, (size, 2), generator=generator)
    pairs = torch.randint(0, 1 << 40, (size,), generator=generator)

    def bits(pairs, states):
        words = torch.stack(noise.philox(pairs, states.T))
        return (words[..., None] >> torch.arange(32)) & 1  # (4, size, 32)

    before = bits(pairs, states)
    flips = [(pairs ^ 1 << bit, states) for bit in range(40)]
    flips += [
        (pairs, states ^ torch.tensor(m)) for b in range(62) for m in ([1 << b, 0], [0, 1 << b])
    ]
    rates = torch.stack([(before ^ bits(*flip)).double().mean(1) for flip in flips])
    deviations = (rates - 0.5) * 2 * size**0.5  # 164 flips of 128 bits each, standard normal
    assert deviations.abs().max() < 5.5
    assert abs(deviations.square().mean() - 1) < 0.06


def test_more_than_ten_coefficients_draw_again():
    ks = drawn(count=21)
    assert torch.equal(ks[:10], drawn())
    for i in range(10, 21):
        for j in range(i):
            assert_independent(ks[i], ks[j])


HEADER_DRAWS = r"""
#include "pau_noise.h"
// The bits 6 j … 6 j + 5 that elements[i] draws for the coefficient j < COUNT, in k[j * size + i].
extern "C" void drawn(const long long* elements, long long size, long long seed, long long offset,
                      long long* k) {
    constexpr int COUNT = 21;
    for (long long i = 0; i < size; ++i) {
        const unsigned long long pair = elements[i] >> 1;
        pau::HalfDraw halves[2][pau::draws(COUNT)];
        const pau::NoiseState state = {(unsigned long long)seed, (unsigned long long)offset};
        pau::draw_pair<COUNT>(pair, pair >> 32, state, halves[0], halves[1]);
        double f[COUNT];
        pau::factors<COUNT>(halves[elements[i] & 1], 1.0, f);
        for (int j = 0; j < COUNT; ++j) k[j * size + i] = (long long)(f[j] * 32);
    }
}
"""


@pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")
def test_header_draws_the_noise_of_the_reference_for_any_element(tmp_path):
    library, folder = tmp_path / "drawn.so", files("pade_bench.kernels")
    command = [
        "g++",
        "-x",
        "c++",
        "-",
        "-std=c++17",
        "-shared",
        "-fPIC",
        f"-I{folder}",
        "-o",
        library,
    ]
    subprocess.run(command, input=HEADER_DRAWS, text=True, check=True)
    border = torch.arange(-5, 5)
    elements = torch.cat([border + 5, border + (1 << 32), border + (1 << 33), border + (7 << 38)])
    seed, offset = 0x3EDC_BA98_7654_3210, (1 << 62) - 3
    k = torch.empty(21, len(elements), dtype=torch.int64)
    ctypes.CDLL(str(library)).drawn(
        *(ctypes.c_void_p(elements.data_ptr()), ctypes.c_longlong(len(elements))),
        *(ctypes.c_longlong(seed), ctypes.c_longlong(offset), ctypes.c_void_p(k.data_ptr())),
    )
    wanted = noise.drawn(elements, torch.tensor([seed, offset]), 21)
    assert torch.equal(k, torch.stack(wanted))


def assert_draws_the_noise_of_the_reference(forward, m, n, dtype, size=5000):
    # With noise = 1 the factors are (2 k + 1) / 64, exact in any type.
    state = torch.tensor([0x3EDC_BA98_7654_3210, (1 << 62) - 3])
    factors = noise.factors(torch.arange(size), state, 1.0, m + 1 + n, torch.float64)
    x, zeros = torch.ones(size, dtype=dtype), torch.zeros(n, dtype=dtype)
    for j, alone in enumerate(torch.eye(m + 1, dtype=dtype)):
        y = forward(x, Unit(alone, zeros, "sum_of_abs", state, 1.0))
        assert torch.equal(y, factors[j].to(dtype)), f"numerator {j}"
    for k, alone in enumerate(torch.eye(n, dtype=dtype)):
        a0 = torch.eye(m + 1, dtype=dtype)[0]
        y = forward(x, Unit(a0, alone, "sum_of_abs", state, 1.0))
        wanted = factors[0] / (1 + factors[m + 1 + k])
        torch.testing.assert_close(y.double(), wanted, rtol=2e-7, atol=0, msg=f"denominator {k}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("m", "n"), [(5, 4), (10, 10)])
def test_cpu_kernel_draws_bitwise_the_noise_of_the_reference(m, n, dtype):
    assert_draws_the_noise_of_the_reference(cpu.forward, m, n, dtype)


@pytest.mark.parametrize("flags", [["-mno-avx512f"], ["-mno-avx2"]])
def test_noise_does_not_depend_on_the_vector_width(monkeypatch, tmp_path, flags):
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("these are widths of x86")
    monkeypatch.setenv("PADE_BENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(cpu, "FLAGS", [*cpu.FLAGS, *flags])
    cpu.kernels.cache_clear()
    try:
        assert_draws_the_noise_of_the_reference(cpu.forward, 5, 4, torch.float32)
    finally:
        cpu.kernels.cache_clear()


@pytest.mark.skipif(not shutil.which("g++"), reason="the emulator needs g++")
@pytest.mark.parametrize("grid", [1, 3, 512])
@pytest.mark.parametrize(("m", "n", "dtype"), [(5, 4, torch.float32), (10, 10, torch.float64)])
def test_cuda_kernel_draws_bitwise_the_noise_of_the_reference_on_any_grid(
    monkeypatch, m, n, dtype, grid
):
    runtime = EmulatedCuda()
    monkeypatch.setattr(cuda, "runtime", lambda: runtime)
    monkeypatch.setattr(cuda, "BACKWARD_GRID", cuda.Grid(grid, 16))

    def on_a_slice(x, unit):
        return cuda.forward(torch.cat([x[:1], x])[1:], unit)

    assert_draws_the_noise_of_the_reference(cuda.forward, m, n, dtype, 5003)
    assert_draws_the_noise_of_the_reference(on_a_slice, m, n, dtype, 1003)


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
    assert 1.8 < y.min() < 1.804
    assert 2.196 < y.max() < 2.2
    assert abs(y.mean() - 2) < 0.003
