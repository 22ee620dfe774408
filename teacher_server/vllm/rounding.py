"""Logprobs as the wire wants them."""

import numpy as np
import torch
from numpy.typing import NDArray

from common.wire import LogprobDtype


def rounded(logprobs: NDArray[np.float32], dtype: LogprobDtype) -> NDArray[np.floating]:
    """`logprobs` as `dtype`. By torch, since numpy takes twenty times as long for float16."""
    return torch.from_numpy(logprobs).to(torch.float16).numpy() if dtype == "float16" else logprobs
