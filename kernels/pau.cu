// The loops around pau_math.h for CUDA, compiled at run time by pade_bench/ops/cuda.py, one module
// for each choice of
//
//     PAU_STORAGE     element type of x, y and their gradients: float, double, __half, __nv_bfloat16
//     PAU_HEADER      the header that declares PAU_STORAGE, where it is a 16-bit type
//     PAU_M, PAU_N    degrees of the numerator and the denominator
//     PAU_FORM        pau::Form, by number
//     PAU_NOISY       1 for RPAU in training, which draws its noise from noise_state and alpha
//
// Every tensor is dense and is walked in memory order. What a thread computes, and the order in
// which sums are formed, depends on n and the grid alone, never on the device, on alignment or on
// timing: repeated runs agree bitwise.
#ifdef PAU_HEADER
#include PAU_HEADER
#endif
#include "pau_math.h"

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

// A slice of a tensor may start anywhere. Its packets are then moved element by element, and so
// hold the same elements as if it were aligned.
__device__ __forceinline__ bool is_aligned(const Storage* p) { return (size_t)p % sizeof(Packet) == 0; }

__device__ __forceinline__ Packet load(const Storage* p) {
    if (is_aligned(p)) return *reinterpret_cast<const Packet*>(p);
    Packet packet;
#pragma unroll
    for (int i = 0; i < WIDTH; ++i) packet.values[i] = p[i];
    return packet;
}

__device__ __forceinline__ void store(Storage* p, const Packet& packet) {
    if (is_aligned(p)) {
        *reinterpret_cast<Packet*>(p) = packet;
    } else {
#pragma unroll
        for (int i = 0; i < WIDTH; ++i) p[i] = packet.values[i];
    }
}

// The coefficients, and for RPAU what its noise is drawn from, in registers.
struct Unit {
    Compute a[M + 1], b[N];
    pau::NoiseKey key;
    Compute alpha;

    __device__ __forceinline__ Unit(const Compute* numerator, const Compute* denominator,
                                    const Index* noise_state, double alpha_)
        : key{0, 0}, alpha(Compute(alpha_)) {
#pragma unroll
        for (int j = 0; j <= M; ++j) a[j] = numerator[j];
#pragma unroll
        for (int k = 0; k < N; ++k) b[k] = denominator[k];
        if constexpr (NOISY) {
            key = {(unsigned long long)noise_state[0], (unsigned long long)noise_state[1]};
        }
    }

    __device__ __forceinline__ Storage value(Storage x, Index element) const {
        if constexpr (NOISY) {
            return Storage(
                pau::noisy_value<M, N, FORM>(Compute(x), a, b, (unsigned long long)element, key, alpha));
        } else {
            return Storage(pau::value<M, N, FORM>(Compute(x), a, b));
        }
    }

    __device__ __forceinline__ Storage gradients(Storage x, Storage g, Index element,
                                                 Compute* sums) const {
        if constexpr (NOISY) {
            return Storage(pau::noisy_gradients<M, N, FORM>(Compute(x), Compute(g), a, b,
                                                            (unsigned long long)element, key, alpha,
                                                            sums));
        } else {
            return Storage(pau::gradients<M, N, FORM>(Compute(x), Compute(g), a, b, sums));
        }
    }
};

// y = F(x). Launched with a thread for every packet.
extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    pau_forward(const Storage* __restrict__ x, Storage* __restrict__ y, Index n,
                const Compute* __restrict__ numerator, const Compute* __restrict__ denominator,
                const Index* __restrict__ noise_state, double alpha) {
    const Unit unit(numerator, denominator, noise_state, alpha);
    const Index thread = (Index)blockIdx.x * THREADS + threadIdx.x;
    const Index packets = n / WIDTH;
    if (thread < packets) {
        const Index first = thread * WIDTH;
        const Packet in = load(x + first);
        Packet out;
#pragma unroll
        for (int i = 0; i < WIDTH; ++i) out.values[i] = unit.value(in.values[i], first + i);
        store(y + first, out);
    }
    const Index rest = packets * WIDTH + thread;  // fewer than WIDTH elements: one a thread
    if (rest < n) y[rest] = unit.value(x[rest], rest);
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

// dx = g F'(x), and block i's part of the coefficients' gradients in partials[j * gridDim.x + i].
extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    pau_backward(const Storage* __restrict__ g, const Storage* __restrict__ x,
                 Storage* __restrict__ dx, Index n, const Compute* __restrict__ numerator,
                 const Compute* __restrict__ denominator, const Index* __restrict__ noise_state,
                 double alpha, double* __restrict__ partials) {
    const Unit unit(numerator, denominator, noise_state, alpha);
    Compute sums[COEFFICIENTS] = {};
    const Index thread = (Index)blockIdx.x * THREADS + threadIdx.x;
    const Index threads = (Index)gridDim.x * THREADS;
    const Index packets = n / WIDTH;
#pragma unroll 1  // the loop over the packet below is what gives the scheduler work
    for (Index packet = thread; packet < packets; packet += threads) {
        const Index first = packet * WIDTH;
        const Packet xs = load(x + first), gs = load(g + first);
        Packet out;
#pragma unroll
        for (int i = 0; i < WIDTH; ++i) {
            out.values[i] = unit.gradients(xs.values[i], gs.values[i], first + i, sums);
        }
        store(dx + first, out);
    }
    const Index rest = packets * WIDTH + thread;
    if (rest < n) dx[rest] = unit.gradients(x[rest], g[rest], rest, sums);

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
