"""One OpenMP for torch and numba in the engine process.

Both bring a pool of threads, and two pools on one set of cores get in each other's way: measured on two cores, one
layer's attention at batch 1 takes 180 to 250 us on numba's own pool, and 15 to 25 us on torch's. numba's
OpenMP layer asks the loader for `libgomp.so.1.0.0`, torch ships the same library as `libgomp.so.1`: a folder with a
link by the first name, put on the loader's path before the process starts, makes them share it.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path


def link_torch_openmp(folder: Path) -> dict[str, str]:
    """Make the link in `folder`; returns the environment variables that a process needs to use it.

    None where torch ships no libgomp (other platforms): numba then keeps a pool of its own.
    """
    spec = importlib.util.find_spec("torch")
    for location in (spec.submodule_search_locations or []) if spec else []:
        library = Path(location) / "lib" / "libgomp.so.1"
        if library.is_file():
            link = folder / "libgomp.so.1.0.0"
            if not link.exists():
                link.symlink_to(library)
            path = os.pathsep.join(p for p in (str(folder), os.environ.get("LD_LIBRARY_PATH", "")) if p)
            return {"LD_LIBRARY_PATH": path, "NUMBA_THREADING_LAYER": "omp"}
    return {}
