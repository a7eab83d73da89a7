"""The random state of a rank (torch, NumPy, Python) as a safetensors file: a run that goes on draws what it would have drawn."""

import json
import random
from pathlib import Path

import numpy as np
import torch


def save_random_state(path: Path) -> None:
    """Write the state of now."""
    from safetensors.torch import save_file

    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, internal, next_gauss = random.getstate()
    tensors = {"torch": torch.get_rng_state(), "numpy": torch.from_numpy(np.array(keys, dtype=np.int64))}
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    plain = {"numpy": [kind, int(position), int(has_gauss), float(gauss)], "python": [version, list(internal), next_gauss]}
    save_file(tensors, path, metadata={"plain": json.dumps(plain)})


def load_random_state(path: Path) -> None:
    """Take up the state that was saved."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        plain = json.loads(file.metadata()["plain"])
    torch.set_rng_state(tensors["torch"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])
    kind, position, has_gauss, gauss = plain["numpy"]
    np.random.set_state((kind, tensors["numpy"].numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, next_gauss = plain["python"]
    random.setstate((version, tuple(internal), next_gauss))
