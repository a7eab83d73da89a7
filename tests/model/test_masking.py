"""Attention within documents, where a team of ranks shares the rows or the matrices: the loss and gradients of one process."""

from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from model.activation_checkpointing import checkpoint_activations
from model.config import ModelConfig
from model.layout import Layout
from model.tensor_parallel import build_sliced, whole
from model.transformer import build_model
from model.ulysses import spread_over_time

pytestmark = pytest.mark.launch

SHAPE = ModelConfig(dim=32, n_layers=2, n_heads=4, n_kv_heads=2, vocab_size=97, context_length=32, multiple_of=16)


def losses_and_gradients(model, layout=None):
    """Of two rows of several documents: the loss summed over all ranks, and gradients by name, put together."""
    draw = torch.Generator().manual_seed(5)
    tokens = torch.randint(0, 97, (2, 33), generator=draw)
    documents = torch.stack([torch.arange(32) // 9, torch.arange(32) // 20])
    loss = model(tokens[:, :-1], tokens[:, 1:], documents=documents)
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    if layout is not None:
        loss = loss.detach()
        dist.all_reduce(loss)
        gradients = {name: whole(name, gradient, layout) for name, gradient in gradients.items()}
        if layout.ulysses > 1:
            for gradient in gradients.values():
                dist.all_reduce(gradient)
    return loss.detach(), gradients


def rank(number, store):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=number, world_size=2, timeout=timedelta(seconds=60))
    expected_loss, expected = losses_and_gradients(build_model(SHAPE, seed=1))
    for team, mode in (((2, False, 1), "none"), ((2, True, 1), "selective"), ((1, False, 2), "full")):
        layout = Layout(*team)
        sliced = layout.tensor_parallel > 1
        model = build_sliced(SHAPE, 1, torch.device("cpu"), layout) if sliced else build_model(SHAPE, seed=1)
        if not sliced:
            spread_over_time(model, layout)
        checkpoint_activations(model, mode)
        loss, gradients = losses_and_gradients(model, layout)
        torch.testing.assert_close(loss, expected_loss)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, expected[name], atol=1e-4, rtol=1e-4)
    dist.destroy_process_group()


def test_teams_keep_documents_apart_as_one_process_does(tmp_path):
    processes.spawn(rank, (str(tmp_path / "store"),), nprocs=2)
