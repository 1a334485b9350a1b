// The loops of the Padé unit on a CPU. pade_bench/ops/cpu.py compiles this file at first use, once
// for each choice of
//
//     PAU_M, PAU_N   degrees of the numerator and the denominator
//     PAU_FORM       pau::Form, by name
//     PAU_TYPE       element type of x, y and their gradients: Float32, Float64, BFloat16, Float16
//
// Elements are taken in blocks of BLOCK. A thread takes the next free block, and leaves the block's
// sums in a row of their own; the rows are added up in order when all are done. So the result
// depends neither on the number of threads nor on which of them took what.
#include <atomic>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "pau_noise.h"

namespace {

constexpr int M = PAU_M, N = PAU_N, COUNT = M + 1 + N;
constexpr pau::Form F = pau::PAU_FORM;

// Small enough that a float sums a block with a relative error near 1e-6 and that 100 000 elements
// keep many threads busy, large enough that a block's bookkeeping does not count.
constexpr int64_t BLOCK = 4096;
constexpr int64_t BLOCKS_PER_THREAD = 4;  // fewer are not worth waking another thread

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64;
#elif defined(__AVX2__)
constexpr int VECTOR_BYTES = 32;
#else
constexpr int VECTOR_BYTES = 16;
#endif

template <class To, class From>
PAU_HD To bit_cast(From value) {
    static_assert(sizeof(To) == sizeof(From), "bit_cast keeps the size");
    To result;
    memcpy(&result, &value, sizeof result);
    return result;
}

// How an element lies in memory and the type T in which it is computed. The half types are
// converted by integer arithmetic, which every compiler vectorizes, and round to nearest even.
struct Float32 {
    using Stored = float;
    using T = float;
    static PAU_HD T load(Stored v) { return v; }
    static PAU_HD Stored store(T v) { return v; }
};

struct Float64 {
    using Stored = double;
    using T = double;
    static PAU_HD T load(Stored v) { return v; }
    static PAU_HD Stored store(T v) { return v; }
};

struct BFloat16 {
    using Stored = uint16_t;
    using T = float;
    static PAU_HD T load(Stored v) { return bit_cast<float>(uint32_t(v) << 16); }
    static PAU_HD Stored store(T v) {
        const uint32_t bits = bit_cast<uint32_t>(v);
        const uint32_t rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
        return Stored((bits & 0x7FFFFFFFu) > 0x7F800000u ? 0x7FC0u : rounded);
    }
};

struct Float16 {
    using Stored = uint16_t;
    using T = float;
    // The exponents differ in their bias by 112: the bits are read as a float, then scaled by
    // 2^112.
    static PAU_HD T load(Stored v) {
        const float scaled = bit_cast<float>((v & 0x7FFFu) << 13) * 0x1p112f;
        const uint32_t special = scaled >= 0x1p16f ? 0x7F800000u : 0u;  // infinity and NaN
        return bit_cast<float>(bit_cast<uint32_t>(scaled) | special | (v & 0x8000u) << 16);
    }
    static PAU_HD Stored store(T v) {
        const uint32_t bits = bit_cast<uint32_t>(v), sign = bits >> 16 & 0x8000u;
        const uint32_t absolute = bits & 0x7FFFFFFFu;
        const uint32_t normal = (absolute - 0x38000000u + 0xFFFu + (absolute >> 13 & 1u)) >> 13;
        // Below 2^-14 the half is subnormal: adding 0.5 leaves exactly its bits in the float's
        // last.
        const float shifted = bit_cast<float>(absolute) + 0.5f;
        const uint32_t subnormal = bit_cast<uint32_t>(shifted) - 0x3F000000u;
        const uint32_t finite = absolute < 0x38800000u ? subnormal : normal;
        const uint32_t special = absolute > 0x7F800000u ? 0x7E00u : 0x7C00u;
        return Stored(sign | (absolute >= 0x47800000u ? special : finite));
    }
};

template <class T>
struct Unit {
    T a[M + 1], b[N];
    pau::NoiseState noise_state;
    T alpha;
};

// Work within a block goes by chunks, whose intermediate results stay in the first-level cache.
constexpr int CHUNK = 512;

// A chunk of elements in the type of computation: the tensor itself, or a converted copy.
template <class S>
struct Chunk {
    typename S::T values[CHUNK];
    const typename S::T* load(const typename S::Stored* from, int n) {
#pragma omp simd
        for (int i = 0; i < n; ++i) values[i] = S::load(from[i]);
        return values;
    }
    typename S::T* target(typename S::Stored*) { return values; }
    void store(typename S::Stored* to, int n) const {
#pragma omp simd
        for (int i = 0; i < n; ++i) to[i] = S::store(values[i]);
    }
};

template <class T>
struct InPlace {
    const T* load(const T* from, int) { return from; }
    T* target(T* to) { return to; }
    void store(T*, int) const {}
};
template <>
struct Chunk<Float32> : InPlace<float> {};
template <>
struct Chunk<Float64> : InPlace<double> {};

// One vector of 64-bit cells for philox(). Written for the vector unit because no compiler turns
// the scalar code into its multiplication of 32-bit halves, which makes it three times faster.
struct Cells {
    typedef uint64_t Vector __attribute__((vector_size(VECTOR_BYTES)));
    static constexpr int SIZE = sizeof(Vector) / sizeof(uint64_t);
    Vector v;
};
PAU_HD Cells operator^(Cells a, Cells b) { return {a.v ^ b.v}; }
PAU_HD Cells operator^(Cells a, uint32_t b) { return {a.v ^ uint64_t(b)}; }
PAU_HD Cells operator>>(Cells a, int bits) { return {a.v >> bits}; }
PAU_HD Cells low_product(Cells w, uint32_t multiplier) {
#if defined(__AVX512F__)
    return {(Cells::Vector)_mm512_mul_epu32((__m512i)w.v, _mm512_set1_epi64(multiplier))};
#elif defined(__AVX2__)
    return {(Cells::Vector)_mm256_mul_epu32((__m256i)w.v, _mm256_set1_epi64x(multiplier))};
#else
    return {(w.v & 0xFFFFFFFFu) * uint64_t(multiplier)};
#endif
}

// The draws of a chunk of elements.
struct Noise {
    static constexpr int DRAWS = pau::draws(COUNT);
    static_assert(CHUNK % (2 * Cells::SIZE) == 0, "a chunk is a whole number of steps");
    alignas(64) uint32_t words[DRAWS][2][CHUNK];  // an element has two words of a draw
    struct Element {
        pau::HalfDraw halves[DRAWS];
    };

    // first is a multiple of CHUNK, which divides 2^32: in the chunk only the low word of a pair's
    // number moves.
    void draw(uint64_t first, const pau::NoiseState& state) {
        for (int d = 0; d < DRAWS; ++d) {
            Cells pairs = {Cells::Vector{} + first / 2};
            for (int lane = 0; lane < Cells::SIZE; ++lane) pairs.v[lane] += lane;
            for (int i = 0; i < CHUNK; i += 2 * Cells::SIZE, pairs.v += Cells::SIZE) {
                const auto w = pau::philox(pairs, uint32_t(first >> 33), state, d);
                interleave(w.w0, w.w2, words[d][0] + i);
                interleave(w.w1, w.w3, words[d][1] + i);
            }
        }
    }

    PAU_HD Element element(int i) const {
        Element drawn;
        for (int d = 0; d < DRAWS; ++d) drawn.halves[d] = {words[d][0][i], words[d][1][i]};
        return drawn;
    }

    static PAU_HD void interleave(Cells even, Cells odd, uint32_t* to) {
        const Cells::Vector words = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
                                        ? (even.v & 0xFFFFFFFFu) | odd.v << 32
                                        : even.v << 32 | (odd.v & 0xFFFFFFFFu);
        memcpy(to, &words, sizeof words);
    }
};
struct NoNoise {};

template <class S, bool NOISY, class T = typename S::T>
void forward_block(const typename S::Stored* x, typename S::Stored* y, int64_t n, int64_t first,
                   const Unit<T>& shared) {
    const Unit<T> u = shared;  // a copy that y cannot alias, so that it stays in registers
    Chunk<S> x_chunk, y_chunk;
    std::conditional_t<NOISY, Noise, NoNoise> noise;
    for (int64_t start = 0; start < n; start += CHUNK) {
        const int size = n - start < CHUNK ? int(n - start) : CHUNK;
        const T* xs = x_chunk.load(x + start, size);
        T* ys = y_chunk.target(y + start);
        if constexpr (NOISY) noise.draw(first + start, u.noise_state);

        const auto element = [&](int i) __attribute__((always_inline)) {
            if constexpr (NOISY) {
                const auto drawn = noise.element(i);
                return pau::noisy_value<M, N, F>(xs[i], u.a, u.b, drawn.halves, u.alpha);
            } else {
                return pau::value<M, N, F>(xs[i], u.a, u.b);
            }
        };
#pragma omp simd
        for (int i = 0; i < size; ++i) ys[i] = element(i);
        y_chunk.store(y + start, size);
    }
}

// Two loops, because one would need more registers than there are: the first finds dx and what the
// coefficients' gradients are made of, the second makes and sums them. There every coefficient has
// LANES partial sums, at least a vector of the machine; an `omp simd reduction` over an array would
// say the same, but gcc leaves such a loop four times slower.
template <class S, bool NOISY, class T = typename S::T>
void backward_block(const typename S::Stored* x, const typename S::Stored* g,
                    typename S::Stored* dx, int64_t n, int64_t first, const Unit<T>& shared,
                    double* sums) {
    constexpr int VECTOR = VECTOR_BYTES / sizeof(T), LANES = VECTOR > 8 ? VECTOR : 8;
    const Unit<T> u = shared;
    Chunk<S> x_chunk, g_chunk, dx_chunk;
    std::conditional_t<NOISY, Noise, NoNoise> noise;
    T partial[COUNT][LANES] = {};
    for (int64_t start = 0; start < n; start += CHUNK) {
        const int size = n - start < CHUNK ? int(n - start) : CHUNK;
        const T* xs = x_chunk.load(x + start, size);
        const T* gs = g_chunk.load(g + start, size);
        T* dxs = dx_chunk.target(dx + start);
        if constexpr (NOISY) noise.draw(first + start, u.noise_state);

        T dps[CHUNK], dqs[CHUNK];
        const auto slopes = [&](int i) __attribute__((always_inline)) {
            if constexpr (NOISY) {
                T f[COUNT];
                pau::factors<COUNT>(noise.element(i).halves, u.alpha, f);
                return pau::noisy_slopes<M, N, F>(xs[i], gs[i], u.a, u.b, f, dps[i], dqs[i]);
            } else {
                return pau::slopes<M, N, F>(xs[i], gs[i], u.a, u.b, dps[i], dqs[i]);
            }
        };
#pragma omp simd
        for (int i = 0; i < size; ++i) dxs[i] = slopes(i);

        const auto add_terms = [&](int i, int lane) __attribute__((always_inline)) {
            const auto add = [&](int j, T v, T w) { partial[j][lane] += v * w; };
            if constexpr (NOISY) {
                T f[COUNT];
                pau::factors<COUNT>(noise.element(i).halves, u.alpha, f);
                pau::noisy_coefficient_terms<M, N, F>(xs[i], dps[i], dqs[i], f, add);
            } else {
                pau::coefficient_terms<M, N, F>(xs[i], dps[i], dqs[i], add);
            }
        };
        int i = 0;
        for (; i + LANES <= size; i += LANES) {
#pragma omp simd
            for (int lane = 0; lane < LANES; ++lane) add_terms(i + lane, lane);
        }
        for (int lane = 0; i < size; ++i, ++lane) add_terms(i, lane);
        dx_chunk.store(dx + start, size);
    }
    for (int j = 0; j < COUNT; ++j) {
        sums[j] = 0;
        for (int lane = 0; lane < LANES; ++lane) sums[j] += partial[j][lane];
    }
}

// The entry by which compilers enter `#pragma omp parallel` in libgomp; LLVM's and Intel's runtimes
// have it too. The caller passes the one in torch's own OpenMP runtime: a second runtime would keep
// a second pool of threads, whose spinning starves the first.
using Parallel = void (*)(void (*)(void*), void*, unsigned threads, unsigned flags);

template <class Body>
void for_each_block(int64_t n, int threads, Parallel parallel, const Body& body) {
    struct Shared {
        std::atomic<int64_t> next{0};
        int64_t n, blocks;
        const Body* body;
    } shared;
    shared.n = n;
    shared.blocks = (n + BLOCK - 1) / BLOCK;
    shared.body = &body;
    const auto work = [](void* data) {
        Shared& s = *static_cast<Shared*>(data);
        for (int64_t block; (block = s.next.fetch_add(1, std::memory_order_relaxed)) < s.blocks;) {
            const int64_t first = block * BLOCK;
            (*s.body)(block, first, s.n - first < BLOCK ? s.n - first : BLOCK);
        }
    };
    const int64_t useful = shared.blocks / BLOCKS_PER_THREAD;
    if (useful < threads) threads = int(useful);
    if (parallel && threads > 1) {
        parallel(work, &shared, unsigned(threads), 0);
    } else {
        work(&shared);
    }
}

template <class T>
Unit<T> unit(const void* a, const void* b, const int64_t* noise_state, double alpha) {
    Unit<T> u = {};
    memcpy(u.a, a, sizeof u.a);
    memcpy(u.b, b, sizeof u.b);
    if (noise_state) {
        u.noise_state = {(unsigned long long)noise_state[0], (unsigned long long)noise_state[1]};
        u.alpha = T(alpha);
    }
    return u;
}

template <class S, bool NOISY>
void forward(const void* x, void* y, int64_t n, const void* a, const void* b,
             const int64_t* noise_state, double alpha, int threads, Parallel parallel) {
    using Stored = typename S::Stored;
    const auto u = unit<typename S::T>(a, b, noise_state, alpha);
    for_each_block(n, threads, parallel, [&](int64_t, int64_t first, int64_t size) {
        forward_block<S, NOISY>((const Stored*)x + first, (Stored*)y + first, size, first, u);
    });
}

template <class S, bool NOISY>
void backward(const void* g, const void* x, void* dx, int64_t n, const void* a, const void* b,
              void* da, void* db, const int64_t* noise_state, double alpha, int threads,
              Parallel parallel) {
    using Stored = typename S::Stored;
    using T = typename S::T;
    const auto u = unit<T>(a, b, noise_state, alpha);
    std::vector<double> rows((n + BLOCK - 1) / BLOCK * COUNT);
    for_each_block(n, threads, parallel, [&](int64_t block, int64_t first, int64_t size) {
        backward_block<S, NOISY>((const Stored*)x + first, (const Stored*)g + first,
                                 (Stored*)dx + first, size, first, u, &rows[block * COUNT]);
    });
    double total[COUNT] = {};
    for (size_t i = 0; i < rows.size(); i += COUNT) {
        for (int j = 0; j < COUNT; ++j) total[j] += rows[i + j];
    }
    for (int j = 0; j <= M; ++j) ((T*)da)[j] = T(total[j]);
    for (int k = 0; k < N; ++k) {
        ((T*)db)[k] = T(pau::finish<F>(total[M + 1 + k], double(u.b[k])));
    }
}

}  // namespace

// x, y, g and dx hold n elements as PAU_TYPE stores them; a, b, da and db hold M + 1 and N numbers
// of the type in which it is computed. noise_state is null, or seed and offset for RPAU.
extern "C" void pau_forward(const void* x, void* y, int64_t n, const void* a, const void* b,
                            const int64_t* noise_state, double alpha, int threads,
                            Parallel parallel) {
    (noise_state ? forward<PAU_TYPE, true> : forward<PAU_TYPE, false>)(
        x, y, n, a, b, noise_state, alpha, threads, parallel);
}

extern "C" void pau_backward(const void* g, const void* x, void* dx, int64_t n, const void* a,
                             const void* b, void* da, void* db, const int64_t* noise_state,
                             double alpha, int threads, Parallel parallel) {
    (noise_state ? backward<PAU_TYPE, true> : backward<PAU_TYPE, false>)(
        g, x, dx, n, a, b, da, db, noise_state, alpha, threads, parallel);
}
