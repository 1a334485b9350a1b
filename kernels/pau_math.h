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

// Where PAU_GPU is defined, this is compiled for a GPU, or for the tests' emulator of one, which
// has its own approximate_reciprocal().
#if defined(__CUDA_ARCH__)
#define PAU_GPU
namespace pau {
__device__ __forceinline__ float approximate_reciprocal(float q) {
    float r;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(q));
    return r;
}
}  // namespace pau
#endif

namespace pau {

// The same numbers as the position in pade_bench.ops.reference.FORMS.
enum Form { ABS_OF_SUM = 0, SUM_OF_ABS = 1, UNSAFE = 2 };

// What a result in float is good for: all its 24 bits, or to be rounded to a 16-bit type.
enum Precision { FULL, SIXTEEN_BITS };

PAU_HD float magnitude(float v) { return fabsf(v); }
PAU_HD double magnitude(double v) { return fabs(v); }

// a b + c. On a GPU it is rounded once, and the compiler fuses nothing on its own: so the same
// expression has the same bits wherever it stands. On a CPU the compiler fuses what it can.
template <class T>
PAU_HD T multiply_add(T a, T b, T c) {
#ifdef PAU_GPU
    return fma(a, b, c);
#else
    return a * b + c;
#endif
}

// -1, 0 or 1; 0 at 0 as automatic differentiation of |v| has it. Two comparisons and no branch.
template <class T>
PAU_HD T sign(T v) {
    return T(v > T(0)) - T(v < T(0));
}
#ifdef PAU_GPU
PAU_HD float sign(float v) { return copysignf(float(v != 0.0f), v); }  // one instruction fewer
#endif

// 1 / Q, where s is the sum inside Q, and in with_sign that with the sign of s for ABS_OF_SUM: the
// derivative of Q by s, over Q. On a GPU an IEEE division costs a slow path of some forty
// instructions for a divisor that is 0 or subnormal, which Q is in UNSAFE alone. Elsewhere it is
// approximate_reciprocal() of Q / 16, because that of Q may be subnormal and is then flushed to 0.
// The approximation, within 1 ulp, will do for 16 bits; a Newton step makes it good to 0.501 ulp.
// For an infinite Q the step would be 0 * infinity, a NaN that fmin drops.
template <Form F, Precision PRECISION, class T>
PAU_HD T inverse(T s, T& with_sign) {
#ifdef PAU_GPU
    if constexpr (F != UNSAFE && sizeof(T) == sizeof(float)) {
        constexpr float UNIT = 1.0f / 16;
        const float q = fmaf(s, UNIT, F == ABS_OF_SUM ? copysignf(UNIT, s) : UNIT);
        const float approximation = approximate_reciprocal(q);
        float r = UNIT * approximation;
        if constexpr (PRECISION == FULL) {
            r = fmaf(r, fminf(fmaf(-q, approximation, 1.0f), 1.0f), r);
        }
        with_sign = F == ABS_OF_SUM ? r * float(s != 0.0f) : r;
        return F == ABS_OF_SUM ? fabsf(r) : r;
    }
#endif
    const T r = T(1) / (T(1) + (F == ABS_OF_SUM ? magnitude(s) : s));
    with_sign = F == ABS_OF_SUM ? r * sign(s) : r;
    return r;
}

// c[0] + c[1] x + … + c[K] x^K by Horner's rule. Recursion in the degree, not a loop, so that every
// compiler has straight-line code to vectorize.
template <int K, class T>
PAU_HD T polynomial(T x, const T* c) {
    if constexpr (K == 0) {
        return c[0];
    } else {
        return multiply_add(polynomial<K - 1>(x, c + 1), x, c[0]);
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
        return multiply_add(derivative<K, FROM + 1>(x, c), x, T(FROM) * c[FROM]);
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
        const T higher = without_constant_derivative<K, FROM + 1>(x, c);
        return multiply_add(higher, x, T(FROM + 1) * c[FROM]);
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
template <int M, int N, Form F, Precision PRECISION = FULL, class T>
PAU_HD T value(T x, const T* a, const T* b) {
    T d[N];
    denominator_coefficients<N, F>(b, d);
    const T s = without_constant<N>(F == SUM_OF_ABS ? magnitude(x) : x, d);
    T unused;
    return polynomial<M>(x, a) * inverse<F, PRECISION>(s, unused);
}

// The quotient rule, for P = p, P' = p_slope, and the sum inside Q, s, with its derivative by z,
// s_slope. Returns g dF/dx, and leaves in dp = g / Q the gradient of P, in dq that of s.
template <Form F, Precision PRECISION, class T>
PAU_HD T quotient_rule(T x, T g, T p, T p_slope, T s, T s_slope, T& dp, T& dq) {
    T with_sign;
    dp = g * inverse<F, PRECISION>(s, with_sign);
    dq = -(dp * (p * with_sign));  // of -(g / Q) y; P / Q^2 would overflow early
    const T dz = dq * s_slope;
#ifdef PAU_GPU
    return fma(dp, p_slope, F == SUM_OF_ABS ? dz * sign(x) : dz);
#else  // not multiply_add(), which would have g++ fuse another product, and change old results
    return dp * p_slope + (F == SUM_OF_ABS ? dz * sign(x) : dz);
#endif
}

// quotient_rule() for the element x.
template <int M, int N, Form F, Precision PRECISION = FULL, class T>
PAU_HD T slopes(T x, T g, const T* a, const T* b, T& dp, T& dq) {
    T d[N];
    denominator_coefficients<N, F>(b, d);
    const T z = F == SUM_OF_ABS ? magnitude(x) : x;
    return quotient_rule<F, PRECISION>(x, g, polynomial<M>(x, a), derivative<M>(x, a),
                                       without_constant<N>(z, d),
                                       without_constant_derivative<N>(z, d), dp, dq);
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

// Calls add(j, u, v), once for every coefficient, where u v is g dF/dc_j: j = 0 … M for a0 … am and
// j = M + 1 … M + N for b1 … bn. The product is left to the caller, who can fuse it with the
// addition. What is added for b_k must, once summed, go through finish().
template <int M, int N, Form F, class T, class Add>
PAU_HD void coefficient_terms(T x, T dp, T dq, Add add) {
    add(0, dp, T(1));
    add_powers<1, M>(dp, x, add);
    add_powers<M + 1, N>(dq, F == SUM_OF_ABS ? magnitude(x) : x, add);
}

// add(j, u, v) for j = FIRST … FIRST + COUNT - 1 with u v = w, w z, w z^2, …, where z2 and z3 are
// z^2 and z^3: one multiplication for three terms. No higher power of z is formed.
template <int FIRST, int COUNT, class T, class Add>
PAU_HD void add_powers_by_threes(T w, T z, T z2, T z3, Add& add) {
    add(FIRST, w, T(1));
    if constexpr (COUNT > 1) add(FIRST + 1, w, z);
    if constexpr (COUNT > 2) add(FIRST + 2, w, z2);
    if constexpr (COUNT == 4) add(FIRST + 3, w, z3);
    if constexpr (COUNT > 4) add_powers_by_threes<FIRST + 3, COUNT - 3>(w * z3, z, z2, z3, add);
}

// coefficient_terms() in fewer instructions, for a caller who fuses the product with the addition.
// In turn terms are infinite or NaN where z^3, or z^2 in lower degrees, overflows.
template <int M, int N, Form F, class T, class Add>
PAU_HD void coefficient_terms_by_threes(T x, T dp, T dq, Add add) {
    const T square = x * x, cube = square * x;
    const T z = F == SUM_OF_ABS ? magnitude(x) : x, z3 = F == SUM_OF_ABS ? magnitude(cube) : cube;
    add_powers_by_threes<0, M + 1>(dp, x, square, cube, add);
    add_powers_by_threes<M + 1, N>(dq * z, z, square, z3, add);
}

// What is left of dF/db_k once its terms are summed over all elements: SUM_OF_ABS owes sign(b_k),
// which no element changes.
template <Form F, class T>
PAU_HD T finish(T sum, T b) {
    return F == SUM_OF_ABS ? sum * sign(b) : sum;
}

// Returns g dF/dx and adds the other M + 1 + N terms to sums.
template <int M, int N, Form F, Precision PRECISION = FULL, class T>
PAU_HD T gradients(T x, T g, const T* a, const T* b, T* sums) {
    T dp, dq;
    const T dx = slopes<M, N, F, PRECISION>(x, g, a, b, dp, dq);
    coefficient_terms_by_threes<M, N, F>(
        x, dp, dq, [sums](int j, T u, T v) { sums[j] = multiply_add(u, v, sums[j]); });
    return dx;
}

}  // namespace pau
