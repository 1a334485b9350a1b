// The Padé unit as one node of torch's autograd, in C++: what Python would spend 30 us a call on.
//
// Host code, compiled against torch's headers by pade_bench/ops/node.py. It allocates, looks up the
// kernels that Python has loaded and given to add_kernels, and runs them: on a CPU by a call, on a
// GPU by the driver's cuLaunchKernel. Whatever is out of the ordinary (see is_plain) goes to the
// operators apply_in_python and differentiate_in_python of pade_bench/ops/dispatch.py, which know
// all cases; so does a configuration whose kernels have not been loaded yet.

#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/DeviceGuard.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

using at::Tensor;
using torch::jit::Stack;

// ---- Kernels: what runs on the memory of plain tensors ------------------------------------------

// x and its gradients have the same layout in memory; the coefficients are contiguous and of the
// type in which x is computed; noise_state is two int64 or absent.
struct Kernels {
    std::string form;

    virtual void forward(const Tensor& x, const Tensor& y, const Tensor& a, const Tensor& b,
                         const int64_t* noise_state, double noise) const = 0;
    virtual void backward(const Tensor& grad, const Tensor& x, const Tensor& dx, const Tensor& a,
                          const Tensor& b, const Tensor& da, const Tensor& db,
                          const int64_t* noise_state, double noise) const = 0;
    virtual ~Kernels() = default;
};

// The functions of pau_cpu.cpp, and torch's own GOMP_parallel or null.
struct CpuKernels final : Kernels {
    using Forward = void (*)(const void*, void*, int64_t, const void*, const void*, const int64_t*,
                             double, int, void*);
    using Backward = void (*)(const void*, const void*, void*, int64_t, const void*, const void*,
                              void*, void*, const int64_t*, double, int, void*);
    Forward run_forward;
    Backward run_backward;
    void* parallel;

    explicit CpuKernels(const std::vector<int64_t>& at)
        : run_forward(reinterpret_cast<Forward>(at.at(0))),
          run_backward(reinterpret_cast<Backward>(at.at(1))),
          parallel(reinterpret_cast<void*>(at.at(2))) {}

    void forward(const Tensor& x, const Tensor& y, const Tensor& a, const Tensor& b,
                 const int64_t* noise_state, double noise) const override {
        run_forward(x.const_data_ptr(), y.data_ptr(), x.numel(), a.const_data_ptr(),
                    b.const_data_ptr(), noise_state, noise, at::get_num_threads(), parallel);
    }

    void backward(const Tensor& grad, const Tensor& x, const Tensor& dx, const Tensor& a,
                  const Tensor& b, const Tensor& da, const Tensor& db, const int64_t* noise_state,
                  double noise) const override {
        run_backward(grad.const_data_ptr(), x.const_data_ptr(), dx.data_ptr(), x.numel(),
                     a.const_data_ptr(), b.const_data_ptr(), da.data_ptr(), db.data_ptr(),
                     noise_state, noise, at::get_num_threads(), parallel);
    }
};

// The kernels of pau.cu, loaded into a context of the driver, and the functions that launch them.
struct CudaKernels final : Kernels {
    // cuLaunchKernel, aoti_torch_get_current_cuda_stream, cuCtxGetCurrent, cuCtxSetCurrent and
    // cuGetErrorString; no header of CUDA is needed to call them.
    int (*launch)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                  void*, void**, void**);
    int (*current_stream)(int32_t, void**);
    int (*get_context)(void**);
    int (*set_context)(void*);
    int (*error_string)(int, const char**);
    void *context, *forward_kernel, *backward_kernel, *sum_partials;
    // A block's threads, and the limits within which the grids grow: see ops/cuda.py.
    int64_t threads, forward_grid, forward_packets, backward_grid, backward_packets;

    explicit CudaKernels(const std::vector<int64_t>& at) {
        size_t i = 0;
        const auto next = [&](auto& member) {
            member = reinterpret_cast<std::remove_reference_t<decltype(member)>>(at.at(i++));
        };
        next(launch), next(current_stream), next(get_context), next(set_context);
        next(error_string), next(context);
        next(forward_kernel), next(backward_kernel), next(sum_partials);
        threads = at.at(i++);
        forward_grid = at.at(i++), forward_packets = at.at(i++);
        backward_grid = at.at(i++), backward_packets = at.at(i++);
    }

    void forward(const Tensor& x, const Tensor& y, const Tensor& a, const Tensor& b,
                 const int64_t* noise_state, double noise) const override {
        if (x.numel() == 0) return;
        const c10::DeviceGuard guard(x.device());  // switches only where another is current
        const void *x_ = x.const_data_ptr(), *a_ = a.const_data_ptr(), *b_ = b.const_data_ptr();
        void* y_ = y.data_ptr();
        int64_t n = x.numel();
        void* arguments[] = {&x_, &y_, &n, &a_, &b_, &noise_state, &noise};
        run(forward_kernel, blocks(x, forward_grid, forward_packets), x.device(), arguments);
    }

    void backward(const Tensor& grad, const Tensor& x, const Tensor& dx, const Tensor& a,
                  const Tensor& b, const Tensor& da, const Tensor& db, const int64_t* noise_state,
                  double noise) const override {
        if (x.numel() == 0) {
            da.zero_(), db.zero_();
            return;
        }
        const c10::DeviceGuard guard(x.device());
        const int64_t coefficients = a.numel() + b.numel();
        int64_t n = x.numel(), rows = blocks(x, backward_grid, backward_packets);
        const Tensor partials = at::empty({coefficients, rows}, x.options().dtype(at::kDouble));
        const void *grad_ = grad.const_data_ptr(), *x_ = x.const_data_ptr();
        const void *a_ = a.const_data_ptr(), *b_ = b.const_data_ptr();
        void *dx_ = dx.data_ptr(), *da_ = da.data_ptr(), *db_ = db.data_ptr();
        void* partials_ = partials.data_ptr();
        void* arguments[] = {&grad_, &x_, &dx_, &n, &a_, &b_, &noise_state, &noise, &partials_};
        run(backward_kernel, rows, x.device(), arguments);
        void* sums[] = {&partials_, &rows, &b_, &da_, &db_};
        run(sum_partials, coefficients, x.device(), sums);
    }

private:
    int64_t blocks(const Tensor& x, int64_t full_grid, int64_t most_packets) const {
        const auto ceil_div = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
        const int64_t packets = ceil_div(x.numel() * x.element_size(), 16);
        const int64_t per_thread = ceil_div(packets, full_grid * threads);
        return ceil_div(packets, std::min(per_thread, most_packets) * threads);
    }

    void run(void* kernel, int64_t blocks, at::Device device, void** arguments) const {
        void* stream = nullptr;
        void* bound = nullptr;
        TORCH_CHECK(current_stream(device.index(), &stream) == 0, "no current stream on ", device);
        get_context(&bound);
        // A thread that has not used the GPU yet, such as one of autograd's, has no context.
        if (bound == nullptr) set_context(context);
        const int error = launch(kernel, blocks, 1, 1, threads, 1, 1, 0, stream, arguments, nullptr);
        if (error != 0) {
            const char* reason = nullptr;
            error_string(error, &reason);
            TORCH_CHECK(false, "a kernel of the Padé unit cannot be launched on ", device, ": ",
                        reason ? reason : "unknown error", " (CUDA error ", error, ")");
        }
    }
};

// ---- Which kernels a call needs -----------------------------------------------------------------

std::optional<unsigned> form_number(const std::string& form) {
    if (form == "abs_of_sum") return 0;
    if (form == "sum_of_abs") return 1;
    if (form == "unsafe") return 2;
    return std::nullopt;
}

// All that kernels depend on, in a number.
uint64_t key_of(at::Device device, at::ScalarType type, int64_t m, int64_t n, unsigned form,
                bool noisy) {
    uint64_t key = uint64_t(device.type());
    for (const uint64_t part : {uint64_t(uint8_t(device.index())), uint64_t(type), uint64_t(m),
                                uint64_t(n), uint64_t(form * 2 + noisy)}) {
        key = key << 8 | (part & 0xff);
    }
    return key;
}

std::mutex table_mutex;
std::unordered_map<uint64_t, const Kernels*> table;  // never freed: backward passes keep addresses

const Kernels* find(uint64_t key) {
    const std::lock_guard<std::mutex> lock(table_mutex);
    const auto found = table.find(key);
    return found == table.end() ? nullptr : found->second;
}

// ---- What is ordinary ---------------------------------------------------------------------------

constexpr auto AUTOCAST = c10::DispatchKeySet(
    {c10::DispatchKey::AutocastCPU, c10::DispatchKey::AutocastCUDA});
constexpr auto PLAIN =
    AUTOCAST | c10::DispatchKeySet({c10::DispatchKey::CPU, c10::DispatchKey::CUDA,
                                    c10::DispatchKey::AutogradCPU, c10::DispatchKey::AutogradCUDA,
                                    c10::DispatchKey::ADInplaceOrView});

// Whether a tensor is memory on a device and nothing else: no subclass, mode or transform of it.
bool is_plain(const Tensor& tensor) {
    return (tensor.key_set().raw_repr() & ~PLAIN.raw_repr()) == 0;
}

// Whether neither a dispatch mode nor a transform must see what happens.
bool is_unobserved() {
    const auto usual = c10::default_included_set | AUTOCAST;
    const auto included = c10::impl::tls_local_dispatch_key_set().included_;
    return (included.raw_repr() & ~usual.raw_repr()) == 0;
}

bool is_float(at::ScalarType type) {
    return type == at::kFloat || type == at::kDouble || type == at::kHalf || type == at::kBFloat16;
}

at::ScalarType compute_type(at::ScalarType type) {
    return type == at::kDouble ? at::kDouble : at::kFloat;
}

bool is_vector(const Tensor& c, const Tensor& x, int64_t most) {
    return c.dim() == 1 && c.numel() >= 1 && c.numel() <= most && is_float(c.scalar_type()) &&
           c.device() == x.device() && is_plain(c);
}

// ---- The node -----------------------------------------------------------------------------------

Tensor in_layout_of(const Tensor& like, const Tensor& tensor) {
    return tensor.strides() == like.strides() ? tensor : at::empty_like(like).copy_(tensor);
}

Tensor prepared(const Tensor& c, at::ScalarType type) {
    return c.scalar_type() == type && c.is_contiguous() ? c : c.to(type).contiguous();
}

const int64_t* address(const Tensor& noise_state) {
    return noise_state.defined() ? noise_state.const_data_ptr<int64_t>() : nullptr;
}

// A unit as Python's Unit carries it; noise_state may be undefined.
struct Unit {
    Tensor a, b;
    std::string form;
    Tensor noise_state;
    double noise;
};

Tensor forward(const Kernels& kernels, const Tensor& x, const Unit& unit) {
    const Tensor y = at::empty_like(x);
    const auto type = compute_type(x.scalar_type());
    kernels.forward(in_layout_of(y, x), y, prepared(unit.a, type), prepared(unit.b, type),
                    address(unit.noise_state), unit.noise);
    return y;
}

c10::OperatorHandle python_operator(const char* name) {
    return c10::Dispatcher::singleton().findSchemaOrThrow(name, "");
}

std::array<Tensor, 3> backward(const Kernels& kernels, const Tensor& grad, const Tensor& x,
                               const Unit& unit) {
    const auto type = compute_type(x.scalar_type());
    const Tensor a = prepared(unit.a, type), b = prepared(unit.b, type);
    const Tensor dx = at::empty_like(x), da = at::empty(a.sizes(), a.options()),
                 db = at::empty(b.sizes(), b.options());
    kernels.backward(in_layout_of(dx, grad), in_layout_of(dx, x), dx, a, b, da, db,
                     address(unit.noise_state), unit.noise);
    return {dx, prepared(da, unit.a.scalar_type()), prepared(db, unit.b.scalar_type())};
}

std::array<Tensor, 3> differentiate_in_python(const Tensor& grad, const Tensor& x,
                                              const Unit& unit) {
    static const auto differentiate = python_operator("pade_bench::differentiate_in_python");
    Stack stack{grad, x, unit.a, unit.b, unit.form,
                unit.noise_state.defined() ? c10::IValue(unit.noise_state) : c10::IValue(),
                unit.noise};
    differentiate.callBoxed(stack);
    return {stack[0].toTensor(), stack[1].toTensor(), stack[2].toTensor()};
}

struct PauNode : torch::autograd::Function<PauNode> {
    static constexpr bool is_traceable = true;

    static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x,
                          const Tensor& a, const Tensor& b, const Unit& unit,
                          const Kernels* kernels) {
        // What is not said is not saved: each of these costs a tenth of a microsecond.
        if (unit.noise_state.defined()) {
            context->save_for_backward({x, a, b, unit.noise_state});
            context->saved_data["noise"] = unit.noise;
        } else {
            context->save_for_backward({x, a, b});
        }
        context->saved_data["kernels"] = reinterpret_cast<int64_t>(kernels);
        return ::forward(*kernels, x, unit);
    }

    static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                   const torch::autograd::variable_list& grads) {
        const auto& kernels =
            *reinterpret_cast<const Kernels*>(context->saved_data["kernels"].toInt());
        const auto saved = context->get_saved_variables();
        const Tensor &grad = grads[0], &x = saved[0];
        const bool noisy = saved.size() > 3;
        const Unit unit{saved[1], saved[2], kernels.form, noisy ? saved[3] : Tensor(),
                        noisy ? context->saved_data["noise"].toDouble() : 0.0};
        const bool is_ordinary = !at::GradMode::is_enabled() && is_unobserved() &&
                                 is_plain(grad) && is_plain(x) && is_plain(unit.a) &&
                                 is_plain(unit.b);
        auto [dx, da, db] = is_ordinary ? ::backward(kernels, grad, x, unit)
                                        : differentiate_in_python(grad, x, unit);
        return {dx, da, db, {}, {}};
    }
};

// ---- The operators that Python calls ------------------------------------------------------------

#define PAU_ARGUMENTS \
    "Tensor x, Tensor numerator, Tensor denominator, str form, Tensor? noise_state, float noise"

void direct(const c10::OperatorHandle&, Stack* stack) {
    const auto argument = [&](int i) -> const c10::IValue& {
        return (*stack)[stack->size() - 6 + i];
    };
    const Tensor& x = argument(0).toTensor();
    Unit unit{argument(1).toTensor(), argument(2).toTensor(), argument(3).toStringRef(),
              argument(4).isNone() ? Tensor() : argument(4).toTensor(), argument(5).toDouble()};
    const bool noisy = unit.noise_state.defined();
    const auto form = form_number(unit.form);
    const Kernels* kernels = nullptr;
    if (is_unobserved() && is_plain(x) && form && is_vector(unit.a, x, 11) &&
        is_vector(unit.b, x, 10)) {
        kernels = find(key_of(x.device(), x.scalar_type(), unit.a.numel() - 1, unit.b.numel(),
                              *form, noisy));
    }
    if (kernels == nullptr) {
        static const auto apply = python_operator("pade_bench::apply_in_python");
        apply.callBoxed(*stack);
        return;
    }
    const bool below_autograd = c10::impl::tls_local_dispatch_key_set().excluded_.has_any(
        c10::DispatchKeySet(c10::DispatchKey::AutogradFunctionality));
    const bool recorded =
        !below_autograd && at::GradMode::is_enabled() &&
        (x.requires_grad() || unit.a.requires_grad() || unit.b.requires_grad());
    Tensor y = recorded ? PauNode::apply(x, unit.a, unit.b, unit, kernels)
                        : forward(*kernels, x, unit);
    torch::jit::drop(*stack, 6);
    stack->emplace_back(std::move(y));
}

void add_kernels(const c10::OperatorHandle&, Stack* stack) {
    const auto at = torch::jit::pop(*stack).toIntVector();
    const bool noisy = torch::jit::pop(*stack).toBool();
    const std::string form = torch::jit::pop(*stack).toStringRef();
    const int64_t n = torch::jit::pop(*stack).toInt(), m = torch::jit::pop(*stack).toInt();
    const auto type = torch::jit::pop(*stack).toScalarType();
    const auto device = torch::jit::pop(*stack).toDevice();
    Kernels* kernels = at.size() == 3 ? static_cast<Kernels*>(new CpuKernels(at))
                                      : new CudaKernels(at);
    kernels->form = form;
    const std::lock_guard<std::mutex> lock(table_mutex);
    table[key_of(device, type, m, n, form_number(form).value(), noisy)] = kernels;
}

void forget_kernels(const c10::OperatorHandle&, Stack*) {
    const std::lock_guard<std::mutex> lock(table_mutex);
    table.clear();
}

}  // namespace

// Define the operators, once; return null or what went wrong.
extern "C" const char* pade_bench_define_operators() {
    static const std::string failure = []() -> std::string {
        try {
            static torch::Library library(torch::Library::FRAGMENT, "pade_bench", std::nullopt,
                                          __FILE__, __LINE__);
            library.def("direct(" PAU_ARGUMENTS ") -> Tensor",
                        torch::CppFunction::makeFromBoxedFunction<direct>());
            library.def("add_kernels(Device device, ScalarType type, int m, int n, str form, "
                        "bool noisy, int[] addresses) -> ()",
                        torch::CppFunction::makeFromBoxedFunction<add_kernels>());
            library.def("forget_kernels() -> ()",
                        torch::CppFunction::makeFromBoxedFunction<forget_kernels>());
            return "";
        } catch (const c10::Error& error) {
            return error.what_without_backtrace();
        }
    }();
    return failure.empty() ? nullptr : failure.c_str();
}
