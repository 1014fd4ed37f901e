"""The average of a network's weights over its last steps, which is what is judged and saved."""

import torch
from torch import nn


def decay_after(steps: float, most: float) -> float:
    """Give the average's decay, smaller at the start so that it forgets the first weights."""
    return min(most, steps / (steps + 20.0))


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move an average towards a network of the same shape; counters are copied."""
    for slow, fast in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if slow.dtype.is_floating_point:
            slow.lerp_(fast, 1 - decay)
        else:
            slow.copy_(fast)
