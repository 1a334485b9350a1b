// The Padé unit and its derivatives, for the element x. Stated once: NVRTC and nvcc compile this
// file for the GPU, g++ and clang++ for the CPU; tests hold both to pade_bench/ops/reference.py.
//
//     F(x) = P(x) / Q(x),   P(x) = a0 + a1 x + … + am x^m,   A(x) = b1 x + … + bn x^n
//     Q(x) = 1 + |A(x)|                  ABS_OF_SUM
//          = 1 + |b1 x| + … + |bn x^n|   SUM_OF_ABS
//          = 1 + A(x)                    UNSAFE
//
// kernels/README.md derives the gradients and says why each expression has the order it has.
#pragma once

#if !defined(__CUDACC_RTC__)
#include <math.h>
#endif

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define PAU_HD __host__ __device__ __forceinline__
#else
#define PAU_HD inline __attribute__((always_inline))
#endif

namespace pau {

// The same numbers as the position in pade_bench.ops.reference.FORMS.
enum Form { ABS_OF_SUM = 0, SUM_OF_ABS = 1, UNSAFE = 2 };

PAU_HD float magnitude(float v) { return fabsf(v); }
PAU_HD double magnitude(double v) { return fabs(v); }

// -1, 0 or 1; 0 at 0 as automatic differentiation of |v| has it. Two comparisons and no branch.
template <class T>
PAU_HD T sign(T v) {
    return T(v > T(0)) - T(v < T(0));
}

// 1 / q. On the GPU an IEEE division costs a slow path of some forty instructions; where Q >= 1 the
// approximate reciprocal and one Newton step are as accurate, since q cannot be zero or subnormal.
template <Form F, class T>
PAU_HD T reciprocal(T q) {
    return T(1) / q;
}

// 1 / q for q >= 1 from an approximation that flushes subnormal results to 0. Above 2^125, where 1
// / q is or may become subnormal, q / 16 is approximated instead, and no step taken: for infinity,
// it would give 0 * infinity.
template <class Approximation>
PAU_HD float newton_reciprocal(float q, Approximation approximate) {
    const bool huge = !(q <= 0x1p125f);  // or NaN
    const float r = approximate(huge ? 0.0625f * q : q);
    return huge ? 0.0625f * r : fmaf(r, fmaf(-q, r, 1.0f), r);
}

#if defined(__CUDA_ARCH__)
__device__ __forceinline__ float fast_reciprocal(float q) {
    return newton_reciprocal(q, [](float v) {
        float r;
        asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v));
        return r;
    });
}
template <>
__device__ __forceinline__ float reciprocal<ABS_OF_SUM, float>(float q) {
    return fast_reciprocal(q);
}
template <>
__device__ __forceinline__ float reciprocal<SUM_OF_ABS, float>(float q) {
    return fast_reciprocal(q);
}
#endif

// c[0] + c[1] x + … + c[K] x^K by Horner's rule. Recursion in the degree, not a loop, so that every
// compiler has straight-line code to vectorise.
template <int K, class T>
PAU_HD T polynomial(T x, const T* c) {
    if constexpr (K == 0) {
        return c[0];
    } else {
        return polynomial<K - 1>(x, c + 1) * x + c[0];
    }
}

// The derivative of the same polynomial, of degree K >= 1: the sum of k c[k] x^(k-1), from k =
// FROM.
template <int K, int FROM = 1, class T>
PAU_HD T derivative(T x, const T* c) {
    if constexpr (K == 0) {
        return T(0);
    } else if constexpr (FROM == K) {
        return T(K) * c[K];
    } else {
        return derivative<K, FROM + 1>(x, c) * x + T(FROM) * c[FROM];
    }
}

// The sums over k of c[k] x^(k+1), k = 0 … K-1: a polynomial without its constant term, as in Q.
template <int K, class T>
PAU_HD T without_constant(T x, const T* c) {
    return polynomial<K - 1>(x, c) * x;
}

// Its derivative, the sum of (k + 1) c[k] x^k from k = FROM.
template <int K, int FROM = 0, class T>
PAU_HD T without_constant_derivative(T x, const T* c) {
    if constexpr (FROM == K - 1) {
        return T(K) * c[K - 1];
    } else {
        return without_constant_derivative<K, FROM + 1>(x, c) * x + T(FROM + 1) * c[FROM];
    }
}

// SUM_OF_ABS is a polynomial in |x| with coefficients |b_k|; the other forms use x and b_k.
template <int N, Form F, class T>
PAU_HD void denominator_coefficients(const T* b, T* d) {
    if constexpr (N > 0) {
        d[0] = F == SUM_OF_ABS ? magnitude(b[0]) : b[0];
        denominator_coefficients<N - 1, F>(b + 1, d + 1);
    }
}

// F(x), for a[0 … M] and b[0 … N-1] (b[0] is b1).
template <int M, int N, Form F, class T>
PAU_HD T value(T x, const T* a, const T* b) {
    T d[N];
    denominator_coefficients<N, F>(b, d);
    const T s = without_constant<N>(F == SUM_OF_ABS ? magnitude(x) : x, d);
    const T q = T(1) + (F == ABS_OF_SUM ? magnitude(s) : s);
    return polynomial<M>(x, a) * reciprocal<F>(q);
}

// add(j, u, v) for j = FIRST … FIRST + COUNT - 1 with u v = w, w z, w z^2, …: the powers grow from
// w, which is small where z is large, so that they overflow no earlier than automatic
// differentiation.
template <int FIRST, int COUNT, class T, class Add>
PAU_HD void add_powers(T w, T z, Add& add) {
    if constexpr (COUNT > 0) {
        add(FIRST, w, z);
        if constexpr (COUNT > 1) add_powers<FIRST + 1, COUNT - 1>(w * z, z, add);
    }
}

// Returns g dF/dx, and leaves in dp = g / Q the gradient of P, in dq that of the sum inside Q.
template <int M, int N, Form F, class T>
PAU_HD T slopes(T x, T g, const T* a, const T* b, T& dp, T& dq) {
    T d[N];
    denominator_coefficients<N, F>(b, d);
    const T z = F == SUM_OF_ABS ? magnitude(x) : x;
    const T s = without_constant<N>(z, d);
    const T r = reciprocal<F>(T(1) + (F == ABS_OF_SUM ? magnitude(s) : s));

    dp = g * r;
    const T t = -(dp * (polynomial<M>(x, a) * r));  // -(g / Q) y; P / Q^2 would overflow early
    dq = F == ABS_OF_SUM ? t * sign(s) : t;
    const T dz = dq * without_constant_derivative<N>(z, d);
    return dp * derivative<M>(x, a) + (F == SUM_OF_ABS ? dz * sign(x) : dz);
}

// Calls add(j, u, v), once for every coefficient, where u v is g dF/dc_j: j = 0 … M for a0 … am and
// j = M + 1 … M + N for b1 … bn. The product is left to the caller, who can fuse it with the
// addition. What is added for b_k must, once summed, go through finish().
template <int M, int N, Form F, class T, class Add>
PAU_HD void coefficient_terms(T x, T dp, T dq, Add add) {
    add(0, dp, T(1));
    add_powers<1, M>(dp, x, add);
    add_powers<M + 1, N>(dq, F == SUM_OF_ABS ? magnitude(x) : x, add);
}

// What is left of dF/db_k once its terms are summed over all elements: SUM_OF_ABS owes sign(b_k),
// which no element changes.
template <Form F, class T>
PAU_HD T finish(T sum, T b) {
    return F == SUM_OF_ABS ? sum * sign(b) : sum;
}

// Returns g dF/dx and adds the other M + 1 + N terms to sums.
template <int M, int N, Form F, class T>
PAU_HD T gradients(T x, T g, const T* a, const T* b, T* sums) {
    T dp, dq;
    const T dx = slopes<M, N, F>(x, g, a, b, dp, dq);
    coefficient_terms<M, N, F>(x, dp, dq, [sums](int j, T u, T v) { sums[j] += u * v; });
    return dx;
}

// ---------------------------------------------------------------------------------------------
// RPAU (Eq. 3): every element i sees its own coefficients c_ij = c_j f_ij, f_ij = 1 + alpha u_ij,
// u_ij ~ U(-1, 1). The noise is a pure function of (seed, offset, i, j): it depends on no grid, no
// vector width and no thread, and the backward pass draws it again instead of reading it.

struct NoiseKey {
    unsigned long long seed;    // of torch's generator
    unsigned long long offset;  // distinct for every call, below 2^62
};

constexpr int FIELDS = 10;        // coefficients that one draw of 128 bits serves, at 12 bits each
constexpr int PHILOX_ROUNDS = 7;  // the fewest that pass BigCrush (Salmon et al. 2011, Table 2)

PAU_HD constexpr int draws(int coefficients) { return (coefficients + FIELDS - 1) / FIELDS; }

template <class Word>
struct Words {
    Word w0, w1, w2, w3;
};

// multiplier times the low half of w, in full. Overloaded where Word is a vector of such words.
PAU_HD unsigned long long low_product(unsigned long long w, unsigned int multiplier) {
    return (unsigned long long)(unsigned int)w * multiplier;
}

// Philox4x32 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011) of the counter
// (low_word, high_word, offset + draw 2^62) under the key seed. low_word and high_word are those of
// the element's index. Every word lies in the low half of a Word of 64 bits, and what gathers in
// the high half means nothing: so a product is used where it stands.
template <class Word>
PAU_HD Words<Word> philox(Word low_word, unsigned int high_word, NoiseKey key, unsigned int draw) {
    const Word zero = low_word ^ low_word;
    Words<Word> c = {low_word, zero ^ high_word, zero ^ (unsigned int)key.offset,
                     zero ^ ((unsigned int)(key.offset >> 32) | draw << 30)};
    unsigned int k0 = (unsigned int)key.seed, k1 = (unsigned int)(key.seed >> 32);
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

// Field j of a draw is an integer k in [0, 4096): bits 0-11 of w0, bits 12-23 of w0, the same of
// w1, w2 and w3, and for j = 8 and 9 the high bytes that are left: w0 with four bits of w1, w2 with
// four of w3. u = (2 k + 1) / 4096 - 1 lies symmetrically about 0, so its mean is exactly 0.
//
// factor() is 1 + alpha u = (1 - alpha + alpha / 4096) + k alpha / 2048. An upper field is
// converted where it stands, as 4096 k, and the power of two is taken from the scale: exact, and no
// shift.
template <int J, class T>
PAU_HD T factor(const Words<unsigned int>& c, T alpha) {
    constexpr unsigned int LOW = 0xFFFu, HIGH = 0xFFF000u;
    unsigned int k;
    if constexpr (J < 8) {
        const unsigned int w = J < 2 ? c.w0 : J < 4 ? c.w1 : J < 6 ? c.w2 : c.w3;
        k = w & (J % 2 ? HIGH : LOW);
    } else {
        k = J == 8 ? (c.w0 >> 24 | (c.w1 >> 16 & 0xF00u)) : (c.w2 >> 24 | (c.w3 >> 16 & 0xF00u));
    }
    const T scale = alpha * (J < 8 && J % 2 ? T(0x1p-23) : T(0x1p-11));
    const T base = T(1) - alpha + alpha * T(0x1p-12);
    return T(int(k)) * scale + base;  // through int: x86 before AVX-512 converts no unsigned
}

// f[J] … f[COUNT - 1], COUNT = M + 1 + N, from the draws 0, 1, … of an element. Call with J = 0.
template <int COUNT, int J = 0, class T>
PAU_HD void factors(const Words<unsigned int>* drawn, T alpha, T* f) {
    if constexpr (J < COUNT) {
        f[J] = factor<J % FIELDS>(drawn[J / FIELDS], alpha);
        factors<COUNT, J + 1>(drawn, alpha, f);
    }
}

template <int COUNT, class T>
PAU_HD void draw_factors(unsigned long long element, NoiseKey key, T alpha, T* f) {
    Words<unsigned int> drawn[draws(COUNT)];
    for (int d = 0; d < draws(COUNT); ++d) {
        const auto w = philox(element, (unsigned int)(element >> 32), key, (unsigned int)d);
        drawn[d] = {(unsigned int)w.w0, (unsigned int)w.w1, (unsigned int)w.w2, (unsigned int)w.w3};
    }
    factors<COUNT>(drawn, alpha, f);
}

// noisy[j] = c[j] f[j] for j = 0 … COUNT - 1; a recursion, like polynomial(), to stay vectorisable.
template <int COUNT, class T>
PAU_HD void products(const T* c, const T* f, T* noisy) {
    if constexpr (COUNT > 0) {
        noisy[0] = c[0] * f[0];
        products<COUNT - 1>(c + 1, f + 1, noisy + 1);
    }
}

// value() at the noisy coefficients of an element whose factors are f.
template <int M, int N, Form F, class T>
PAU_HD T noisy_value(T x, const T* a, const T* b, const T* f) {
    T noisy_a[M + 1], noisy_b[N];
    products<M + 1>(a, f, noisy_a);
    products<N>(b, f + M + 1, noisy_b);
    return value<M, N, F>(x, noisy_a, noisy_b);
}

// slopes() at the noisy coefficients of an element whose factors are f.
template <int M, int N, Form F, class T>
PAU_HD T noisy_slopes(T x, T g, const T* a, const T* b, const T* f, T& dp, T& dq) {
    T noisy_a[M + 1], noisy_b[N];
    products<M + 1>(a, f, noisy_a);
    products<N>(b, f + M + 1, noisy_b);
    return slopes<M, N, F>(x, g, noisy_a, noisy_b, dp, dq);
}

// coefficient_terms() for such an element: a term for c_j is that for c_ij times dc_ij/dc_j = f_ij.
// For alpha <= 1 every f_ij > 0, so c_ij has the sign of c_j and finish() serves here too.
template <int M, int N, Form F, class T, class Add>
PAU_HD void noisy_coefficient_terms(T x, T dp, T dq, const T* f, Add add) {
    coefficient_terms<M, N, F>(x, dp, dq, [&add, f](int j, T u, T v) { add(j, u * v, f[j]); });
}

// noisy_value() and the counterpart of gradients(), drawing the factors of the element themselves.
template <int M, int N, Form F, class T>
PAU_HD T noisy_value(T x, const T* a, const T* b, unsigned long long element, NoiseKey key,
                     T alpha) {
    T f[M + 1 + N];
    draw_factors<M + 1 + N>(element, key, alpha, f);
    return noisy_value<M, N, F>(x, a, b, f);
}

template <int M, int N, Form F, class T>
PAU_HD T noisy_gradients(T x, T g, const T* a, const T* b, unsigned long long element, NoiseKey key,
                         T alpha, T* sums) {
    T f[M + 1 + N];
    draw_factors<M + 1 + N>(element, key, alpha, f);
    T dp, dq;
    const T dx = noisy_slopes<M, N, F>(x, g, a, b, f, dp, dq);
    noisy_coefficient_terms<M, N, F>(x, dp, dq, f, [sums](int j, T u, T v) { sums[j] += u * v; });
    return dx;
}

}  // namespace pau
