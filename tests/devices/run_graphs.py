"""Run both graphs of one artifact on given crops and write all outputs; the same file runs here and under emulation.

run_graphs.py BUNDLE BACKEND PRECISION CROPS.npz OUT.npz; CROPS has "template", "search" (3 of them) and, where
the outputs of another machine are the truth, its kernels.
"""

import sys
from pathlib import Path

import numpy as np

from siamedge.runtime.backends.backend import Session, get_backend
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.tensors import Array, encode_crop


def feed(session: Session, crop: Array, kernels: dict[str, Array]) -> dict[str, Array]:
    """The kernels by name, and the crop in the input that has four dimensions and is none of them."""
    feeds = {}
    for name, spec in session.inputs.items():
        feeds[name] = kernels[name] if name in kernels else np.zeros(spec.shape, spec.dtype)
        if name not in kernels:
            encode_crop(crop, spec, feeds[name])
    return feeds


def main(path: str, backend_name: str, precision: str, crops_path: str, out_path: str) -> None:
    bundle, backend, crops = Bundle.open(Path(path)), get_backend(backend_name), np.load(crops_path)
    found: dict[str, Array] = {}
    sessions = {}
    for role in ("template", "search"):
        artifact = bundle.find(role, backend.format, precision)  # type: ignore[arg-type]
        sessions[role] = backend.load(bundle.load(artifact), device="CPU", threads=1)
    made = sessions["template"].run(feed(sessions["template"], crops["template"], {}))
    kernels = {name: np.array(value) for name, value in made.items()}
    found |= {f"template/{name}": value for name, value in kernels.items()}
    given = {name: crops[f"template/{name}"] for name in kernels if f"template/{name}" in crops}
    for index, crop in enumerate(crops["search"]):
        outputs = sessions["search"].run(feed(sessions["search"], crop, given or kernels))
        found |= {f"search{index}/{name}": np.array(value) for name, value in outputs.items()}
    np.savez(out_path, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
