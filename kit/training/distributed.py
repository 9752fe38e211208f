"""The processes of a training: one, or as many as `torchrun` started, on one host or several."""

import os
from contextlib import contextmanager
from warnings import catch_warnings, filterwarnings

import torch

from kit.data.recordings import Batch
from kit.models.cpu import reuse_freed_memory
from kit.models.layers import ConvCore


def make_fabric(model, device, precision):
    """A `Fabric` on one device, or, in a process that torchrun started, on one device of many.

    Raises ValueError if the device is not there.
    """
    # imported on first use: Fabric takes a second
    from lightning_fabric import Fabric
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    several = torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()
    total, here = (int(os.environ.get(name, 1)) if several else 1
                   for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    # a step leaves parts of the model out: the other mice's, and who knows what in another core
    partly = len(model.readouts) > 1 or not isinstance(model.core, ConvCore)
    ddp = "ddp_find_unused_parameters_true" if partly else "ddp"
    try:
        fabric = Fabric(accelerator=device, devices=here, num_nodes=total // here,
                        strategy=ddp if total > 1 else "auto", precision=precision)
    except (RuntimeError, ValueError, MisconfigurationException) as problem:
        raise ValueError(f"device={device!r} is not to be had here ({problem}); use "
                         "device=\"auto\"") from None
    if total > 1:
        fabric.launch()
    return fabric


def on_rank_zero(fabric, work):
    """What `work()` returns in the first process, for all; what it raises there, all raise."""
    result = problem = None
    if fabric.is_global_zero:
        try:
            result = work()
        except (ValueError, OSError) as refusal:
            problem = refusal
    result, problem = fabric.broadcast((result, problem))
    if problem is not None:
        raise problem
    return result


@contextmanager
def seeded_by_rank(seed, fabric):
    """Random numbers of each process's own, and its buffers kept; afterwards all is as before."""
    cuda = [fabric.device] if fabric.device.type == "cuda" else []
    with torch.random.fork_rng(cuda), reuse_freed_memory():
        torch.manual_seed(seed + fabric.global_rank)
        with catch_warnings():  # of DDP, about strides of dimensions of length 1
            filterwarnings("ignore", "Grad strides do not match bucket view")
            yield


def rng_modules(fabric):
    """Where random numbers come from: modules with get_rng_state and set_rng_state."""
    return [torch.random, *[torch.get_device_module(fabric.device)] * (fabric.device.type != "cpu")]


def gather_states(state, fabric):
    """Each process's tensor (n,), known to all: (processes, n)."""
    states = torch.zeros(fabric.world_size, *state.shape, dtype=state.dtype, device=fabric.device)
    states[fabric.global_rank] = state.to(fabric.device)
    return fabric.all_reduce(states, reduce_op="sum")


def shard(batch, rank, processes):
    """This process's images of a batch, and 1; where none are left, the first image and 0.

    With it a process takes part in the step though its loss does not count.
    """
    counts = rank < len(batch.images)
    rows = slice(rank, None, processes) if counts else slice(1)
    return Batch(*(value if value is None else value[rows] for value in batch)), int(counts)


def average_buffers(model, fabric):
    """Give all processes the mean of what each has seen: the running statistics of batch norm."""
    if fabric.world_size > 1:
        for value in filter(torch.is_floating_point, model.buffers()):
            value.copy_(fabric.all_reduce(value.double()))  # in float64: equal ones stay equal
