"""A copy of what DeepSpeed would write into a checkpoint, so that the writing can be done beside training."""

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import torch
from torch import Tensor


class Snapshot(AbstractContextManager["list[tuple[Any, str]]"]):
    """Inside the block `save_checkpoint` of an engine (or of the `engines` saved together) writes nothing.

    The list that the block binds holds (content, path) of every file in its place: tensors are copies in host memory.
    """

    def __init__(self, engine: Any) -> None:
        self._engines = list(getattr(engine, "engines", {"": engine}).values())

    def __enter__(self) -> list[tuple[Any, str]]:
        files: list[tuple[Any, str]] = []

        def keep(state_dict: Any, path: str) -> None:
            files.append((_copy(state_dict), path))

        for engine in self._engines:
            engine.checkpoint_engine.save = keep  # on the instance: the class writes again when this is deleted
        return files

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for engine in self._engines:
            del engine.checkpoint_engine.save


def _copy(content: Any) -> Any:
    if isinstance(content, Tensor):
        return content.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    if isinstance(content, dict):  # an OrderedDict too: what reads it asks for no more than a mapping in order
        return {key: _copy(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)) and type(content) in (list, tuple):
        return type(content)(_copy(value) for value in content)
    return content
