// Runs a CUDA kernel on the CPU: as much of the language as kernels/pau.cu uses, for g++.
//
// Blocks run one after another. The threads of a block are fibers, of which one runs at a time, until
// it waits at __syncthreads() or in a shuffle; the schedule says who runs next. Shared memory is
// poisoned before every block. So a missing barrier shows itself as NaN under some schedule, and a
// barrier that not every thread reaches as an error instead of a GPU that hangs.
#pragma once

#include <float.h>
#include <math.h>
#include <string.h>
#include <ucontext.h>

#include <utility>
#include <vector>

#ifdef PAU_HEADER
#include PAU_HEADER  // now, because it defines some of what follows, for a host compiler
#endif

#undef __global__
#undef __device__
#undef __forceinline__
#undef __launch_bounds__
#undef __shared__
#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
// One block runs at a time, so its shared memory can be static; the section finds it for the poison.
#define __shared__ static __attribute__((section("shared_memory")))
extern "C" __attribute__((visibility("hidden"))) char __start_shared_memory[], __stop_shared_memory[];

namespace emulator {

constexpr int WARP = 32;

struct Index3 {
    unsigned x = 0, y = 0, z = 0;
};

// Where threads wait for each other.
struct Meeting {
    int arrived = 0;
    long held = 0;  // how often all have met here
};

struct Warp {
    Meeting meeting;
    char slots[2][WARP][8];  // two sets: a lane may begin a shuffle while others still read the last
};

struct Fiber {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(64 << 10);
    Index3 thread;
    int shuffles = 0;
    bool running = false;
};

inline Index3 block_index, block_size, grid_size;
inline ucontext_t scheduler;
inline Fiber* current;
inline std::vector<Fiber> fibers;
inline std::vector<Warp> warps;
inline Meeting barrier;
inline bool progress;  // since the scheduler last looked
inline unsigned random_state;
inline void (*thread_body)();

inline void meet(Meeting& meeting, int members) {
    progress = true;
    const long held = meeting.held;
    if (++meeting.arrived == members) {
        meeting.arrived = 0;
        ++meeting.held;
    }
    while (meeting.held == held) swapcontext(&current->context, &scheduler);
}

inline void run_thread() {
    thread_body();
    current->running = false;
    progress = true;
}

enum Schedule { FORWARD = 0, REVERSE = 1 };  // anything else: the seed of a random order

// 0 … count - 1 in the order of the schedule.
inline std::vector<unsigned> order(unsigned count, int schedule) {
    std::vector<unsigned> all(count);
    for (unsigned i = 0; i < count; ++i) {
        all[i] = schedule == REVERSE ? count - 1 - i : i;
        if (schedule > REVERSE) {
            random_state = random_state * 1664525u + 1013904223u;
            std::swap(all[i], all[(random_state >> 8) % (i + 1)]);
        }
    }
    return all;
}

// Returns false if the block hangs.
inline bool run_block(int schedule) {
    memset(__start_shared_memory, 0xFF, __stop_shared_memory - __start_shared_memory);
    barrier = Meeting();
    for (Warp& warp : warps) warp = Warp();
    for (size_t i = 0; i < fibers.size(); ++i) {
        Fiber& fiber = fibers[i];
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        fiber.context.uc_link = &scheduler;
        makecontext(&fiber.context, run_thread, 0);
        fiber.thread.x = i;
        fiber.shuffles = 0;
        fiber.running = true;
    }
    for (bool any = true; any;) {
        any = progress = false;
        for (unsigned i : order(fibers.size(), schedule)) {
            if (!fibers[i].running) continue;
            any = true;
            current = &fibers[i];
            swapcontext(&scheduler, &current->context);
        }
        if (any && !progress) return false;
    }
    return true;
}

// Launches as cuLaunchKernel does, with a pointer to each argument. Returns what went wrong, if it did.
template <auto kernel, class... P, size_t... I>
const char* launch(void (*)(P...), std::index_sequence<I...>, unsigned grid, unsigned block,
                   void** arguments, const int* sizes, int count, int schedule) {
    static void** values;
    constexpr int expected[] = {sizeof(P)...};
    if (count != sizeof...(P)) return "called with the wrong number of arguments";
    for (int i = 0; i < count; ++i) {
        if (sizes[i] != expected[i]) return "called with an argument of the wrong size";
    }
    if (block % WARP) return "called with a block that is not whole warps";
    random_state = schedule;
    values = arguments;
    thread_body = [] { kernel(*static_cast<P*>(values[I])...); };
    grid_size.x = grid;
    block_size.x = block;
    fibers.resize(block);
    warps.resize(block / WARP);
    for (unsigned i : order(grid, schedule)) {
        block_index.x = i;
        if (!run_block(schedule)) return "threads wait for others that never come";
    }
    return nullptr;
}

}  // namespace emulator

#define threadIdx (emulator::current->thread)
#define blockIdx (emulator::block_index)
#define blockDim (emulator::block_size)
#define gridDim (emulator::grid_size)

inline void __syncthreads() { emulator::meet(emulator::barrier, emulator::block_size.x); }

template <class T>
T __shfl_down_sync(unsigned, T value, unsigned delta) {
    using namespace emulator;
    static_assert(sizeof(T) <= sizeof(Warp::slots[0][0]));
    Warp& warp = warps[threadIdx.x / WARP];
    const unsigned lane = threadIdx.x % WARP;
    auto& slots = warp.slots[current->shuffles++ % 2];
    memcpy(slots[lane], &value, sizeof(T));
    meet(warp.meeting, WARP);
    memcpy(&value, slots[lane + delta < WARP ? lane + delta : lane], sizeof(T));
    return value;
}

inline float __uint_as_float(unsigned bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// rcp.approx.ftz.f32 is off by 1 ulp at most and flushes subnormal results to zero (PTX ISA, "rcp").
// Here it errs by 1 ulp towards RECIPROCAL_ERRS_TOWARDS, or else now down, now up, now not at all.
#define PAU_GPU
namespace pau {
inline float approximate_reciprocal(float q) {
    float r = 1.0f / q;
#ifdef RECIPROCAL_ERRS_TOWARDS
    const float towards = RECIPROCAL_ERRS_TOWARDS;
#else
    unsigned bits;
    memcpy(&bits, &q, sizeof bits);
    const float towards = bits % 3 == 0 ? r : bits % 3 == 1 ? 0.0f : INFINITY;
#endif
    if (isfinite(r)) r = nextafterf(r, towards);
    return fabsf(r) < FLT_MIN ? copysignf(0.0f, r) : r;
}
}  // namespace pau

#define EMULATE(kernel)                                                                         \
    extern "C" __attribute__((visibility("default"))) const char* emulate_##kernel(             \
        unsigned grid, unsigned block, void** arguments, const int* sizes, int count,           \
        int schedule) {                                                                         \
        return [=]<class... P>(void (*f)(P...)) {                                               \
            return emulator::launch<kernel>(f, std::index_sequence_for<P...>(), grid, block,    \
                                            arguments, sizes, count, schedule);                 \
        }(kernel);                                                                              \
    }
