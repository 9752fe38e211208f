"""Training in one process, or in several that `torchrun` started on one or more hosts."""

import atexit
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast
from warnings import catch_warnings, filterwarnings

import torch
from torch import Tensor

from kit.data.recordings import Batch
from kit.files import started_by_torchrun
from kit.machine import reuse_freed_memory
from kit.models.layers import ConvCore

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def make_fabric(model: Any, device: str, precision: Any) -> "Fabric":
    """A `Fabric` with one device for this process, connected to the others of a `torchrun`.

    Raises ValueError if the device is not available.
    """
    # imported here because it takes a second
    from lightning_fabric import Fabric
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    processes = per_host = 1
    if started_by_torchrun():
        processes = int(os.environ["WORLD_SIZE"])
        per_host = int(os.environ["LOCAL_WORLD_SIZE"])
    # a step gives no gradient to other mice's readouts, or perhaps to parts of another core
    some_unused = len(model.readouts) > 1 or not isinstance(model.core, ConvCore)
    strategy = "ddp_find_unused_parameters_true" if some_unused else "ddp"
    try:
        with catch_warnings():  # what `require_fast_precision` refuses
            filterwarnings("ignore", ".*fp16 is not supported on CPU")
            fabric = Fabric(
                accelerator=device,
                devices=per_host,
                num_nodes=processes // per_host,
                strategy=strategy if processes > 1 else "auto",
                precision=precision,
            )
    except (RuntimeError, ValueError, MisconfigurationException) as problem:
        raise ValueError(
            f'device={device!r} is not available on this machine ({problem}); use device="auto"'
        ) from None
    if processes > 1:
        atexit.register(leave_processes)
        fabric.launch()
    return fabric


def has_fast_bfloat16() -> bool:
    """Whether this CPU multiplies in bfloat16. Others are 4 to 16 times slower than in float32."""
    names = "_is_avx512_bf16_supported", "_is_amx_tile_supported"
    return any(getattr(torch.cpu, name, bool)() for name in names)


def require_fast_precision(fabric: "Fabric", precision: str) -> None:
    """Raise ValueError if half precision would make training slower, on a CPU that lacks it."""
    fast = precision == "32-true" or (precision == "bf16-mixed" and has_fast_bfloat16())
    if fabric.device.type == "cpu" and not fast:
        raise ValueError(f"precision={precision!r} makes training slower on this CPU; leave it out")


def leave_processes() -> None:
    """End the connection to the other processes, which Fabric keeps open on a CPU.

    Threads that still hold tensors of it when Python ends may abort the process.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def on_rank_zero(fabric: "Fabric", work: Callable[[], Any]) -> Any:
    """Run `work()` on rank 0 and broadcast its result, or its ValueError or OSError."""
    result = problem = None
    if fabric.is_global_zero:
        try:
            result = work()
        except (ValueError, OSError) as error:
            problem = error
    result, problem = fabric.broadcast((result, problem))
    if problem:
        raise problem
    return result


@contextmanager
def seeded_by_rank(seed: int, fabric: "Fabric") -> Generator[None]:
    """Seed each process differently within the block, and keep freed memory for its arrays."""
    cuda = [fabric.device] if fabric.device.type == "cuda" else []
    with torch.random.fork_rng(cuda), reuse_freed_memory(), catch_warnings():
        torch.manual_seed(seed + fabric.global_rank)
        # DDP warns about strides of dimensions of length 1
        filterwarnings("ignore", "Grad strides do not match bucket view")
        yield


def rng_modules(fabric: "Fabric") -> list[ModuleType]:
    """The modules with the get_rng_state and set_rng_state of the CPU and of the device."""
    if fabric.device.type == "cpu":
        return [torch.random]
    return [torch.random, torch.get_device_module(fabric.device)]


def gather_states(fabric: "Fabric") -> dict[str, Tensor]:
    """The random states (processes, n) of all processes, by the name of their module."""
    gathered = {}
    for module in rng_modules(fabric):
        state = cast(Tensor, fabric.all_gather(module.get_rng_state()))
        gathered[module.__name__] = state.view(fabric.world_size, -1)
    return gathered


def set_states(gathered: dict[str, Tensor], fabric: "Fabric") -> None:
    """Set this process's random states to those that `gather_states` returned."""
    for module in rng_modules(fabric):
        module.set_rng_state(gathered[module.__name__][fabric.global_rank].clone())


def shard(batch: Batch, rank: int, processes: int) -> tuple[Batch, int]:
    """The images of a batch for one process, and the weight of its loss: 1.

    If there are fewer images than processes, the others get the first image and 0: every process
    must take part in a step.
    """
    if rank < len(batch.images):
        return batch.part(slice(rank, None, processes)), 1
    return batch.part(slice(1)), 0


def average_buffers(model: torch.nn.Module, fabric: "Fabric") -> None:
    """Average the running statistics of batch norm over all processes."""
    for value in model.buffers():
        if value.is_floating_point():
            mean = cast(Tensor, fabric.all_reduce(value.double()))  # equal ones stay equal
            value.copy_(mean)
