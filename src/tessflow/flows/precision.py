"""Where half precision ends."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["full_precision"]


def full_precision(x: Tensor) -> Tensor:
    """Return numbers of half precision in float32, others as they are: under autocast, it ends with the networks.

    Example:
        >>> full_precision(torch.ones((), dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
