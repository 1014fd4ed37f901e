"""What a model that multiplies three numbers by a constant has in common, whatever its format."""

import numpy as np

from siamedge.runtime.backends.backend import Model
from siamedge.runtime.backends.cache import CachingBackend, CompiledCache
from siamedge.runtime.tensors import TensorSpec

SPECS = (TensorSpec("x", (1, 3), "float32", "NPC"),), (TensorSpec("y", (1, 3), "float32", "NPC"),)
"""Its input and its output."""


def times_123(model: Model, backend: CachingBackend, cache: CompiledCache) -> list[float]:
    """Load it through a cache and multiply 1, 2, 3."""
    session = backend.with_cache(cache).load(model, device="CPU", threads=1)
    result: list[float] = session.run({"x": np.array([[1, 2, 3]], np.float32)})["y"][0].tolist()
    session.close()
    return result
