"""How the ranks of a training share the work beyond ZeRO: tensor, sequence and Ulysses parallelism (L1 §2.4).

Neighbouring ranks form a *team* that works on the same rows; the teams are what data parallelism counts. In a tensor-parallel
team every rank holds a slice of the matrices; DeepSpeed learns of it through the `mpu` interface and runs ZeRO among the ranks
that hold the same slice. In a Ulysses team (Jacobs et al. 2023) every rank holds the whole model and a part of the time axis,
so ZeRO runs over all ranks as ever.
"""

from typing import Any

import torch.distributed as dist

from model.config import ModelConfig


class Layout:
    """Teams of the ranks; made on all ranks together, after the process group."""

    def __init__(self, tensor_parallel: int = 1, sequence_parallel: bool = False, ulysses: int = 1) -> None:
        self.tensor_parallel, self.sequence_parallel, self.ulysses = tensor_parallel, sequence_parallel, ulysses
        self.team_size = tensor_parallel * ulysses
        rank, world = dist.get_rank(), dist.get_world_size()
        self.data_rank, self.data_world = rank // self.team_size, world // self.team_size
        self.team: Any = None
        self.peers: Any = None  # ranks with the same place in other teams
        if self.team_size > 1:
            self.team = _mine([list(range(at, at + self.team_size)) for at in range(0, world, self.team_size)])
            self.peers = _mine([list(range(at, world, self.team_size)) for at in range(self.team_size)])

    def mpu(self) -> "ModelParallelUnit | None":
        """What DeepSpeed is told, if anything."""
        return ModelParallelUnit(self.team, self.peers) if self.tensor_parallel > 1 else None


class ModelParallelUnit:
    """DeepSpeed's `mpu`: the groups of one rank, by the names that DeepSpeed asks for."""

    def __init__(self, model: Any, data: Any) -> None:
        self._model, self._data = model, data

    def get_model_parallel_group(self) -> Any:
        """Ranks that hold the slices of one model."""
        return self._model

    def get_model_parallel_rank(self) -> int:
        """Place in that group."""
        return dist.get_rank(self._model)

    def get_model_parallel_world_size(self) -> int:
        """Size of that group."""
        return dist.get_world_size(self._model)

    def get_data_parallel_group(self) -> Any:
        """Ranks that hold the same slice."""
        return self._data

    def get_data_parallel_rank(self) -> int:
        """Place in that group."""
        return dist.get_rank(self._data)

    def get_data_parallel_world_size(self) -> int:
        """Size of that group."""
        return dist.get_world_size(self._data)

    get_tensor_model_parallel_group = get_model_parallel_group
    get_tensor_model_parallel_rank = get_model_parallel_rank
    get_tensor_model_parallel_world_size = get_model_parallel_world_size


def refusal(config: ModelConfig, world: int, tensor_parallel: int, sequence_parallel: bool, ulysses: int) -> str | None:
    """Why a model cannot be laid out so, as `field: reason`, or None."""
    team = tensor_parallel * ulysses
    if tensor_parallel > 1 and ulysses > 1:
        return "ulysses: works without tensor_parallel; sequence_parallel is its twin beside tensor_parallel"
    if sequence_parallel and tensor_parallel == 1:
        return "sequence_parallel: works with tensor_parallel 2 or more; ulysses is its twin without"
    if world % team:
        return f"tensor_parallel × ulysses: {team} does not divide the {world} ranks"
    field = "tensor_parallel" if tensor_parallel > 1 else "ulysses"
    for name in ("n_heads", "n_kv_heads", "context_length", *(["ffn_dim"] if tensor_parallel > 1 else [])):
        if getattr(config, name) % team:
            return f"{field}: {team} does not divide model.{name} {getattr(config, name)}"
    return None


def _mine(groups: list[list[int]]) -> Any:
    """The group that this rank is in; all ranks make all groups in the same order."""
    made = [dist.new_group(ranks) for ranks in groups]
    return next(group for group, ranks in zip(made, groups, strict=True) if dist.get_rank() in ranks)
