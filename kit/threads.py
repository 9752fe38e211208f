"""How many threads torch may use."""

from functools import cache

import torch


@cache
def limit_threads() -> None:
    """Limit torch's threads to the cores of this process: more threads are much slower.

    torch counts the cores of the host, also those that a container or a scheduler does not grant.
    Called at the first use of a recording or a model, once a process.
    """
    import joblib  # takes a moment

    cores = joblib.cpu_count()
    if cores < torch.get_num_threads():
        torch.set_num_threads(cores)
