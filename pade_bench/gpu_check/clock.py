"""How long a call takes: on the device alone, and as the program sees it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

Call = Callable[[], object]


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_milliseconds(call: Call, device: torch.device, repeats: int = 50) -> float:
    """Return the median time of a call on the device, without that of Python's launches."""
    for _ in range(5):
        call()
    if device.type == "cpu":
        return wall_milliseconds(call, device, 1, repeats)
    times = []
    for _ in range(repeats):
        torch.cuda._sleep(1_000_000)  # clock cycles in which the host queues what follows
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def wall_milliseconds(call: Call, device: torch.device, calls: int, rounds: int = 5) -> float:
    """Return the time of a call among ``calls`` in a row, the median of ``rounds``."""
    for _ in range(3):
        call()
    times = []
    for _ in range(rounds):
        synchronize(device)
        start = time.perf_counter()
        for _ in range(calls):
            call()
        synchronize(device)
        times.append((time.perf_counter() - start) / calls)
    return 1e3 * statistics.median(times)


def busy_milliseconds(call: Call, device: torch.device, calls: int = 5) -> float | None:
    """Return the sum of the times of a call's kernels; None where there is no profiler of them."""
    if device.type == "cpu":
        return None
    from torch.profiler import ProfilerActivity, profile

    synchronize(device)
    with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as profiler:
        for _ in range(calls):
            call()
        synchronize(device)
    microseconds = sum(event.self_device_time_total for event in profiler.key_averages())
    return microseconds / calls / 1e3 or None
