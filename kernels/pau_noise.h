// The randomized unit, RPAU (Eq. 3): in training, element i sees coefficients of its own, c_ij =
// c_j f_ij with f_ij = 1 + alpha u_ij and u_ij ~ U(-1, 1). The noise is a pure function of (seed,
// offset, i, j): it depends on no grid, no vector width and no thread, and the backward pass draws
// it again instead of reading it. pade_bench/ops/noise.py says the same in torch.
#pragma once

#include "pau_math.h"

namespace pau {

// Names a call: two numbers below 2^62.
struct NoiseState {
    unsigned long long seed, offset;
};

constexpr int FIELD_BITS = 6, FIELDS_OF_WORD = 5;
constexpr int FIELDS = 2 * FIELDS_OF_WORD;  // coefficients that one draw serves, for two elements
constexpr int PHILOX_ROUNDS = 7;  // the fewest that pass BigCrush (Salmon et al. 2011, Table 2)

PAU_HD constexpr int draws(int coefficients) { return (coefficients + FIELDS - 1) / FIELDS; }

template <class Word>
struct Words {
    Word w0, w1, w2, w3;
};

// What one of the two elements has of a draw.
struct HalfDraw {
    unsigned int w0, w1;
};

// multiplier times the low half of w, in full. Overloaded where Word is a vector of such words.
PAU_HD unsigned long long low_product(unsigned long long w, unsigned int multiplier) {
    const unsigned int low = (unsigned int)w;
#if defined(__CUDA_ARCH__)
    unsigned long long product;  // written in C++, it comes with an addition of zero
    asm("mul.wide.u32 %0, %1, %2;" : "=l"(product) : "r"(low), "r"(multiplier));
    return product;
#else
    return (unsigned long long)low * multiplier;
#endif
}

// Philox4x32 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011). The elements
// 2 pair and 2 pair + 1 share a draw: words 0 and 1 are the first's, 2 and 3 the second's. All that
// tells draws apart is in the counter: the pair's number, given by its low and high word, the state
// and the number of the draw. The key is 0, so that the keys of the rounds are constants.
//
// Every word lies in the low half of a Word of 64 bits, and what gathers in the high half means
// nothing: so a product is used where it stands.
template <class Word>
PAU_HD Words<Word> philox(Word low, unsigned int high, NoiseState state, unsigned int draw) {
    const Word zero = low ^ low;
    const unsigned int seed_low = (unsigned int)state.seed, offset_low = (unsigned int)state.offset;
    const unsigned int both_high = (unsigned int)((state.seed ^ state.offset) >> 32);
    Words<Word> c = {low, zero ^ (high ^ seed_low), zero ^ offset_low,
                     zero ^ (both_high ^ draw << 30)};
    unsigned int k0 = 0, k1 = 0;
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#pragma unroll
#else
#pragma GCC unroll 7
#endif
    for (int round = 0; round < PHILOX_ROUNDS; ++round) {
        const Word p0 = low_product(c.w0, 0xD2511F53u), p1 = low_product(c.w2, 0xCD9E8D57u);
        c = {(p1 >> 32) ^ c.w1 ^ k0, p1, (p0 >> 32) ^ c.w3 ^ k1, p0};
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c;
}

// The draws of a pair that COUNT coefficients need, for its two elements.
template <int COUNT>
PAU_HD void draw_pair(unsigned int low, unsigned int high, NoiseState state, HalfDraw* first,
                      HalfDraw* second) {
    for (int d = 0; d < draws(COUNT); ++d) {
        const auto w = philox((unsigned long long)low, high, state, (unsigned int)d);
        first[d] = {(unsigned int)w.w0, (unsigned int)w.w1};
        second[d] = {(unsigned int)w.w2, (unsigned int)w.w3};
    }
}

// Field J of an element's draws is an integer k in [0, 64): for J < 5 the bits 6 J … 6 J + 5 of the
// first word, for J < 10 those of the second, and so on with the next draw. u = (2 k + 1) / 64 - 1
// lies symmetrically about 0, so its mean is exactly 0.
//
// 1 + alpha u = (1 - alpha + alpha / 64) + k alpha / 32 = factor_base() + field() factor_step(),
// where field() is k 2^SHIFT, converted where it stands; the step takes the power of two back.
template <int J, class T>
PAU_HD T field(const HalfDraw* drawn) {
    constexpr unsigned int MASK = (1 << FIELD_BITS) - 1, SHIFT = FIELD_BITS * (J % FIELDS_OF_WORD);
    const HalfDraw& half = drawn[J / FIELDS];
    const unsigned int word = J % FIELDS < FIELDS_OF_WORD ? half.w0 : half.w1;
    return T(int(word & MASK << SHIFT));  // through int: x86 before AVX-512 converts no unsigned
}

template <int J, class T>
PAU_HD T factor_step(T alpha) {
    constexpr int SHIFT = FIELD_BITS * (J % FIELDS_OF_WORD);
    return alpha * (T(2) / (1 << FIELD_BITS) / (1 << SHIFT));
}

template <class T>
PAU_HD T factor_base(T alpha) {
    return T(1) - alpha + alpha * (T(1) / (1 << FIELD_BITS));
}

// f[J] … f[COUNT - 1], COUNT = M + 1 + N, of an element. Call with J = 0.
template <int COUNT, int J = 0, class T>
PAU_HD void factors(const HalfDraw* drawn, T alpha, T* f) {
    if constexpr (J < COUNT) {
        f[J] = multiply_add(field<J, T>(drawn), factor_step<J>(alpha), factor_base(alpha));
        factors<COUNT, J + 1>(drawn, alpha, f);
    }
}

// noisy[j] = c[j] f[j] for j = 0 … COUNT - 1; a recursion, like polynomial(), to stay vectorizable.
template <int COUNT, class T>
PAU_HD void products(const T* c, const T* f, T* noisy) {
    if constexpr (COUNT > 0) {
        noisy[0] = c[0] * f[0];
        products<COUNT - 1>(c + 1, f + 1, noisy + 1);
    }
}

// noisy[j] = c[j] f[J + j] without f[J + j] itself: c[j] times base and step are the same for every
// element.
template <int COUNT, int J, class T>
PAU_HD void noisy_coefficients(const T* c, const HalfDraw* drawn, T alpha, T* noisy) {
    if constexpr (COUNT > 0) {
        const T step = c[0] * factor_step<J>(alpha), base = c[0] * factor_base(alpha);
        noisy[0] = multiply_add(field<J, T>(drawn), step, base);
        noisy_coefficients<COUNT - 1, J + 1>(c + 1, drawn, alpha, noisy + 1);
    }
}

// value() at the noisy coefficients of an element.
template <int M, int N, Form F, Precision PRECISION = FULL, class T>
PAU_HD T noisy_value(T x, const T* a, const T* b, const HalfDraw* drawn, T alpha) {
    T noisy_a[M + 1], noisy_b[N];
    noisy_coefficients<M + 1, 0>(a, drawn, alpha, noisy_a);
    noisy_coefficients<N, M + 1>(b, drawn, alpha, noisy_b);
    return value<M, N, F, PRECISION>(x, noisy_a, noisy_b);
}

// polynomial() and its derivative in one, without the products k c[k] of derivative(), which a
// compiler takes out of a loop only where c is the same for all elements.
template <int K, class T>
PAU_HD void polynomial_and_derivative(T x, const T* c, T& p, T& slope) {
    if constexpr (K == 0) {
        p = c[0];
        slope = T(0);
    } else if constexpr (K == 1) {
        p = multiply_add(c[1], x, c[0]);
        slope = c[1];
    } else {
        polynomial_and_derivative<K - 1>(x, c + 1, p, slope);
        slope = multiply_add(slope, x, p);
        p = multiply_add(p, x, c[0]);
    }
}

// slopes() at the noisy coefficients of an element whose factors are f.
template <int M, int N, Form F, Precision PRECISION = FULL, class T>
PAU_HD T noisy_slopes(T x, T g, const T* a, const T* b, const T* f, T& dp, T& dq) {
    T noisy_a[M + 1], noisy_b[N], d[N], p, p_slope, t, t_slope;
    products<M + 1>(a, f, noisy_a);
    products<N>(b, f + M + 1, noisy_b);
    denominator_coefficients<N, F>(noisy_b, d);
    const T z = F == SUM_OF_ABS ? magnitude(x) : x;
    polynomial_and_derivative<M>(x, noisy_a, p, p_slope);
    polynomial_and_derivative<N - 1>(z, d, t, t_slope);  // s = t z
    const T s_slope = multiply_add(t_slope, z, t);
    return quotient_rule<F, PRECISION>(x, g, p, p_slope, t * z, s_slope, dp, dq);
}

// coefficient_terms() for such an element: a term for c_j is that for c_ij times dc_ij/dc_j = f_ij.
// For alpha <= 1 every f_ij > 0, so c_ij has the sign of c_j and finish() serves here too.
template <int M, int N, Form F, class T, class Add>
PAU_HD void noisy_coefficient_terms(T x, T dp, T dq, const T* f, Add add) {
    coefficient_terms<M, N, F>(x, dp, dq, [&add, f](int j, T u, T v) { add(j, u * v, f[j]); });
}

// The counterpart of gradients() for an element whose factors are f.
template <int M, int N, Form F, Precision PRECISION = FULL, class T>
PAU_HD T noisy_gradients(T x, T g, const T* a, const T* b, const T* f, T* sums) {
    T dp, dq;
    const T dx = noisy_slopes<M, N, F, PRECISION>(x, g, a, b, f, dp, dq);
    noisy_coefficient_terms<M, N, F>(
        x, dp, dq, f, [sums](int j, T u, T v) { sums[j] = multiply_add(u, v, sums[j]); });
    return dx;
}

}  // namespace pau
