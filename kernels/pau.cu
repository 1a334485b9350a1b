// The loops around pau_math.h for CUDA, compiled at run time by pade_bench/ops/cuda.py, one module
// for each choice of
//
//     PAU_STORAGE     type of x, y and their gradients: float, double, __half or __nv_bfloat16
//     PAU_HEADER      the header that declares PAU_STORAGE, where it is a 16-bit type
//     PAU_M, PAU_N    degrees of the numerator and the denominator
//     PAU_FORM        pau::Form, by number
//     PAU_NOISY       1 for RPAU in training, which draws its noise from noise_state and alpha
//
// Every tensor is dense and is walked in memory order. What a thread computes, and the order in
// which sums are formed, depends on n and the grid alone, never on the device, on alignment or on
// timing: repeated runs agree bitwise. For that the compiler must fuse no multiplication with an
// addition by itself (--fmad=false).
#ifdef PAU_HEADER
#include PAU_HEADER
#endif
#include "pau_noise.h"

typedef PAU_STORAGE Storage;
typedef long long Index;

template <class T>
struct ComputeIn {
    typedef float type;  // 16-bit types are computed in float and rounded once, at the store
};
template <>
struct ComputeIn<double> {
    typedef double type;
};
typedef ComputeIn<Storage>::type Compute;

constexpr int M = PAU_M, N = PAU_N, COEFFICIENTS = M + 1 + N;
constexpr pau::Form FORM = pau::Form(PAU_FORM);
constexpr bool NOISY = PAU_NOISY;
constexpr pau::Precision PRECISION = sizeof(Storage) == 2 ? pau::SIXTEEN_BITS : pau::FULL;

constexpr int WARP = 32;
constexpr int THREADS = 256;  // of every block; pade_bench/ops/cuda.py launches the same number
constexpr int WARPS = THREADS / WARP;
// Left alone (0), ptxas spills a register of double to reach a rounder occupancy; 1 forbids that.
constexpr int MIN_BLOCKS = sizeof(Compute) == 8 ? 1 : 0;

// What one 128-bit access moves.
constexpr int WIDTH = 16 / sizeof(Storage);
struct alignas(16) Packet {
    Storage values[WIDTH];
};

// Two elements to the type of computation and back. 16-bit types have instructions for two at once.
__device__ __forceinline__ void widen(const Compute* two, Compute* values) {
    values[0] = two[0];
    values[1] = two[1];
}
__device__ __forceinline__ void narrow(const Compute* values, Compute* two) { widen(values, two); }
#ifdef __CUDA_FP16_H__  // what its header defines
__device__ __forceinline__ void widen(const __half* two, float* values) {
    const float2 both = __half22float2(*reinterpret_cast<const __half2*>(two));
    values[0] = both.x;
    values[1] = both.y;
}
__device__ __forceinline__ void narrow(const float* values, __half* two) {
    *reinterpret_cast<__half2*>(two) = __floats2half2_rn(values[0], values[1]);
}
#endif
#ifdef __CUDA_BF16_H__
// bfloat16 is the upper half of float.
__device__ __forceinline__ void widen(const __nv_bfloat16* two, float* values) {
    const unsigned int bits = *reinterpret_cast<const unsigned int*>(two);
    values[0] = __uint_as_float(bits << 16);
    values[1] = __uint_as_float(bits & 0xFFFF0000u);
}
__device__ __forceinline__ void narrow(const float* values, __nv_bfloat16* two) {
    *reinterpret_cast<__nv_bfloat162*>(two) = __floats2bfloat162_rn(values[0], values[1]);
}
#endif

__device__ __forceinline__ bool is_aligned(const Storage* p) {
    return (size_t)p % sizeof(Packet) == 0;
}

// Loads and stores the packet that begins at p. A slice of a tensor may start anywhere: its packets
// are moved element by element, and so hold the same elements as if it were aligned.
template <bool ALIGNED>
__device__ __forceinline__ void load(const Storage* p, Compute* values) {
    Packet packet;
    if (ALIGNED || is_aligned(p)) {
        packet = *reinterpret_cast<const Packet*>(p);
    } else {
#pragma unroll
        for (int i = 0; i < WIDTH; ++i) packet.values[i] = p[i];
    }
#pragma unroll
    for (int i = 0; i < WIDTH; i += 2) widen(packet.values + i, values + i);
}

template <bool ALIGNED>
__device__ __forceinline__ void store(Storage* p, const Compute* values) {
    Packet packet;
#pragma unroll
    for (int i = 0; i < WIDTH; i += 2) narrow(values + i, packet.values + i);
    if (ALIGNED || is_aligned(p)) {
        *reinterpret_cast<Packet*>(p) = packet;
    } else {
#pragma unroll
        for (int i = 0; i < WIDTH; ++i) p[i] = packet.values[i];
    }
}

// What an element draws, for RPAU.
struct Noise {
    pau::HalfDraw draws[pau::draws(COEFFICIENTS)];
};

// The coefficients, and for RPAU what its noise is drawn from, in registers.
struct Unit {
    Compute a[M + 1], b[N];
    pau::NoiseState state;
    Compute alpha;

    __device__ __forceinline__ Unit(const Compute* numerator, const Compute* denominator,
                                    const Index* noise_state, double alpha_)
        : state{0, 0}, alpha(Compute(alpha_)) {
#pragma unroll
        for (int j = 0; j <= M; ++j) a[j] = numerator[j];
#pragma unroll
        for (int k = 0; k < N; ++k) b[k] = denominator[k];
        if constexpr (NOISY) {
            state = {(unsigned long long)noise_state[0], (unsigned long long)noise_state[1]};
        }
    }

    // Draws for the elements first + i and first + i + 1. i is even, and first begins a packet:
    // the numbers of its pairs have the high word in common.
    __device__ __forceinline__ void draw(Index first, int i, Noise* noise) const {
        if constexpr (NOISY) {
            const unsigned int low = (unsigned int)(first >> 1) + i / 2, high = first >> 33;
            pau::draw_pair<COEFFICIENTS>(low, high, state, noise[0].draws, noise[1].draws);
        }
    }

    __device__ __forceinline__ Noise draw(Index element) const {
        Noise noise[2];
        draw(element, 0, noise);
        return element % 2 ? noise[1] : noise[0];
    }

    __device__ __forceinline__ Compute value(Compute x, const Noise& noise) const {
        if constexpr (NOISY) {
            return pau::noisy_value<M, N, FORM, PRECISION>(x, a, b, noise.draws, alpha);
        } else {
            return pau::value<M, N, FORM, PRECISION>(x, a, b);
        }
    }

    __device__ __forceinline__ Compute gradients(Compute x, Compute g, const Noise& noise,
                                                 Compute* sums) const {
        if constexpr (NOISY) {
            Compute f[COEFFICIENTS];
            pau::factors<COEFFICIENTS>(noise.draws, alpha, f);
            return pau::noisy_gradients<M, N, FORM, PRECISION>(x, g, a, b, f, sums);
        } else {
            return pau::gradients<M, N, FORM, PRECISION>(x, g, a, b, sums);
        }
    }
};

// A thread's share of n elements: packets from its own number on, at the stride of the grid, and of
// the last elements, too few for a packet, at most one.
struct Share {
    Index thread, threads, packets, rest;

    __device__ __forceinline__ explicit Share(Index n)
        : thread((Index)blockIdx.x * THREADS + threadIdx.x),
          threads((Index)gridDim.x * THREADS),
          packets(n / WIDTH),
          rest(packets * WIDTH + thread) {}
};

template <bool ALIGNED>
__device__ __forceinline__ void forward_packets(const Unit& unit, const Share& share,
                                                const Storage* x, Storage* y) {
#pragma unroll 1  // the loop over the packet below is what gives the scheduler work
    for (Index packet = share.thread; packet < share.packets; packet += share.threads) {
        const Index first = packet * WIDTH;
        Compute values[WIDTH];
        load<ALIGNED>(x + first, values);
#pragma unroll
        for (int i = 0; i < WIDTH; i += 2) {
            Noise noise[2];
            unit.draw(first, i, noise);
            values[i] = unit.value(values[i], noise[0]);
            values[i + 1] = unit.value(values[i + 1], noise[1]);
        }
        store<ALIGNED>(y + first, values);
    }
}

// y = F(x).
extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    pau_forward(const Storage* __restrict__ x, Storage* __restrict__ y, Index n,
                const Compute* __restrict__ numerator, const Compute* __restrict__ denominator,
                const Index* __restrict__ noise_state, double alpha) {
    const Unit unit(numerator, denominator, noise_state, alpha);
    const Share share(n);
    if (is_aligned(x) && is_aligned(y)) {
        forward_packets<true>(unit, share, x, y);
    } else {
        forward_packets<false>(unit, share, x, y);
    }
    const Index rest = share.rest;
    if (rest < n) y[rest] = Storage(unit.value(Compute(x[rest]), unit.draw(rest)));
}

// The sum of value over the warp, in lane 0.
template <class T>
__device__ __forceinline__ T sum_over_warp(T value) {
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) {
        value += __shfl_down_sync(0xffffffffu, value, offset);
    }
    return value;
}

template <bool ALIGNED>
__device__ __forceinline__ void backward_packets(const Unit& unit, const Share& share,
                                                 const Storage* g, const Storage* x, Storage* dx,
                                                 Compute* sums) {
#pragma unroll 1
    for (Index packet = share.thread; packet < share.packets; packet += share.threads) {
        const Index first = packet * WIDTH;
        Compute xs[WIDTH], gs[WIDTH];
        load<ALIGNED>(x + first, xs);
        load<ALIGNED>(g + first, gs);
#pragma unroll
        for (int i = 0; i < WIDTH; i += 2) {
            Noise noise[2];
            unit.draw(first, i, noise);
            gs[i] = unit.gradients(xs[i], gs[i], noise[0], sums);
            gs[i + 1] = unit.gradients(xs[i + 1], gs[i + 1], noise[1], sums);
        }
        store<ALIGNED>(dx + first, gs);
    }
}

// dx = g F'(x), and block i's part of the coefficients' gradients in partials[j * gridDim.x + i].
extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    pau_backward(const Storage* __restrict__ g, const Storage* __restrict__ x,
                 Storage* __restrict__ dx, Index n, const Compute* __restrict__ numerator,
                 const Compute* __restrict__ denominator, const Index* __restrict__ noise_state,
                 double alpha, double* __restrict__ partials) {
    const Unit unit(numerator, denominator, noise_state, alpha);
    Compute sums[COEFFICIENTS] = {};
    const Share share(n);
    if (is_aligned(g) && is_aligned(x) && is_aligned(dx)) {
        backward_packets<true>(unit, share, g, x, dx, sums);
    } else {
        backward_packets<false>(unit, share, g, x, dx, sums);
    }
    const Index rest = share.rest;
    if (rest < n) {
        const Noise noise = unit.draw(rest);
        dx[rest] = Storage(unit.gradients(Compute(x[rest]), Compute(g[rest]), noise, sums));
    }

    __shared__ Compute of_warp[WARPS][COEFFICIENTS];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
#pragma unroll
    for (int j = 0; j < COEFFICIENTS; ++j) {
        const Compute sum = sum_over_warp(sums[j]);
        if (lane == 0) of_warp[warp][j] = sum;
    }
    __syncthreads();
    if (threadIdx.x < COEFFICIENTS) {
        double sum = 0;
        for (int w = 0; w < WARPS; ++w) sum += of_warp[w][threadIdx.x];
        partials[(Index)threadIdx.x * gridDim.x + blockIdx.x] = sum;
    }
}

// Block j sums row j of partials, COEFFICIENTS rows of the backward pass's blocks, in double: the
// gradient of a_j for j <= M, of b_(j-M) beyond.
extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    pau_sum_partials(const double* __restrict__ partials, Index blocks,
                     const Compute* __restrict__ denominator, Compute* __restrict__ d_numerator,
                     Compute* __restrict__ d_denominator) {
    const int j = blockIdx.x;
    double sum = 0;
    for (Index i = threadIdx.x; i < blocks; i += THREADS) sum += partials[j * blocks + i];

    __shared__ double of_warp[WARPS];
    sum = sum_over_warp(sum);
    if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        sum = 0;
        for (int w = 0; w < WARPS; ++w) sum += of_warp[w];
        if (j <= M) {
            d_numerator[j] = Compute(sum);
        } else {
            d_denominator[j - M - 1] = pau::finish<FORM>(Compute(sum), denominator[j - M - 1]);
        }
    }
}
