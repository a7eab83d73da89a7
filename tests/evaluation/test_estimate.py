"""The estimate against the papers' own figures, and the count of activations against what PyTorch keeps."""

import json
import os
import re
import subprocess
import sys
import weakref

import pytest
import torch
import typer
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from typer.testing import CliRunner

from evaluation.chips import GPUS
from evaluation.estimate import PUBLISHED_TOKENS, Job, estimate
from evaluation.inference_budget import chinchilla_loss, for_inference_budget
from evaluation.training_memory import activation_bytes, memory_per_gpu, slice_count
from flows.commands.estimate import register
from model.activation_checkpointing import checkpoint_activations
from model.config import ModelConfig, parameter_count
from model.layout import Layout
from model.pretrain_config import PretrainConfig
from model.tensor_parallel import build_sliced
from model.transformer import build_model
from model.ulysses import spread_over_time

APP = typer.Typer()
APP.callback()(lambda: None)
register(APP)


def quipu(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(APP, ["estimate", *arguments])
    return result.exit_code, re.sub(r"[\s│]+", " ", result.output)  # without the box around a mistake


def test_llama_65b_takes_what_the_paper_says() -> None:
    """L1 §2.4: around 380 tokens/s/GPU on 2048 A100-80GB, 1.4T tokens in approximately 21 days."""
    code, output = quipu("llama-65b", "--gpus", "2048", "--gpu", "a100-80gb", "--mfu", "0.477", "--json")
    found = json.loads(output)
    assert code == 0 and found["parameters"] == 65_285_660_672
    assert found["tokens_per_second_per_gpu"] == pytest.approx(380, rel=0.03)
    assert found["days"] == pytest.approx(21, rel=0.03)
    assert found["mfu_is"] == "given" and 0.3 < found["mfu_modelled"] < 0.7
    assert not found["fits"] and found["change"] == "--set pretrain.zero_stage=3"
    # L1 Table 15: 1,022,362 GPU hours, 449 MWh, 173 t for the 65B
    assert found["mwh"] == pytest.approx(449, rel=0.03) and found["tco2eq"] == pytest.approx(173, rel=0.03)


@pytest.mark.parametrize(
    ("preset", "hours", "watts", "tonnes"),
    [
        ("llama2-7b", 184_320, 400, 31.22),
        ("llama2-13b", 368_640, 400, 62.44),
        ("llama2-34b", 1_038_336, 350, 153.90),
        ("llama2-70b", 1_720_320, 400, 291.42),
    ],
)
def test_the_mfu_that_gives_llama_2s_hours_gives_its_carbon(preset: str, hours: float, watts: float, tonnes: float) -> None:
    """L2 Table 2."""
    model, gpu = ModelConfig(preset=preset), GPUS["a100-80gb"]
    job = Job(model, PretrainConfig(), PUBLISHED_TOKENS[preset], 1024, gpu, mfu=0.5)
    reached = 0.5 * estimate(job)["gpu_hours"] / hours
    assert 0.35 < reached < 0.6
    changed = Job(model, PretrainConfig(), job.tokens, 1024, type(gpu)(**{**vars(gpu), "watts": watts}), mfu=reached)
    assert estimate(changed)["tco2eq"] == pytest.approx(tonnes, abs=0.01)


class _Kept(TorchDispatchMode):
    """Bytes of the tensors made under it that are still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self._seen = 0, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        given = {
            t.untyped_storage()._cdata for t in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)
        }
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage(), given)
        return result

    def _count(self, storage, given) -> None:
        if storage._cdata in given or storage._cdata in self._seen:
            return
        self._seen.add(storage._cdata)
        self.bytes += storage.nbytes()
        weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())

    def _gone(self, key, size) -> None:
        self._seen.discard(key)
        self.bytes -= size


@pytest.fixture
def team_of_two():
    """This process as the first rank of two whose collectives move nothing: what a rank keeps does not depend on values."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a model loses by more
    torch.distributed.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    yield
    torch.distributed.destroy_process_group()
    torch.set_num_threads(threads)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mode", ["none", "selective", "full"])
@pytest.mark.parametrize("team", [(1, False, 1), (2, False, 1), (2, True, 1), (1, False, 2)])
def test_activations_are_counted_as_pytorch_keeps_them(
    team: tuple[int, bool, int], mode: str, dtype: torch.dtype, team_of_two: None
) -> None:
    """What a forward pass leaves alive for the backward pass, two depths apart, so that a layer stands alone."""
    kept, layout = [], Layout(*team)
    for layers in (2, 4):
        config = ModelConfig(dim=128, n_layers=layers, n_heads=4, vocab_size=64, context_length=64, multiple_of=32)
        sliced = team[0] > 1
        model = (build_sliced(config, 0, torch.device("cpu"), layout) if sliced else build_model(config, 0)).to(dtype)
        assert sum(parameter.numel() for parameter in model.parameters()) == slice_count(config, team[0])
        if team[2] > 1:
            spread_over_time(model, layout)
        checkpoint_activations(model, mode)
        tokens = torch.randint(0, 64, (3, 64))
        model(tokens, labels=tokens)  # the rotary table is made once
        with _Kept() as live:
            loss = model(tokens, labels=tokens)
        kept.append(live.bytes)
        del loss
    measured = (kept[1] - kept[0]) / 2 / tokens.numel()
    counted, _ = activation_bytes(config, mode, dtype.itemsize, *team)
    assert counted / team[2] == pytest.approx(measured, rel=0.03)


def test_zero_divides_what_it_says() -> None:
    model = ModelConfig(preset="llama-7b")
    count = parameter_count(model)
    at = [memory_per_gpu(model, PretrainConfig(zero_stage=stage), 8, 1) for stage in (1, 2, 3)]
    assert [round(m.optimizer) for m in at] == [round(12 * count / 8)] * 3
    assert [round(m.gradients) for m in at] == [4 * count, round(4 * count / 8), round(4 * count / 8)]
    assert at[0].weights == at[1].weights == 2 * count and at[2].weights < count


# A rank of four whose collectives move nothing, under DeepSpeed: bytes of the tensors that stand between the second backward pass
# and its update, so that the optimizer has its state.
ZERO = """
import gc, json, os
import torch
from torch.testing._internal.distributed.fake_pg import FakeStore
os.environ.update(DS_ACCELERATOR="cpu", LOCAL_RANK="0")
torch.distributed.init_process_group("fake", rank=0, world_size=4, store=FakeStore())
import deepspeed
from model import engine as engines
from model.config import ModelConfig
deepspeed.init_distributed(dist_backend="gloo", verbose=False)
def storages():
    gc.collect()
    return {t.untyped_storage()._cdata: t.untyped_storage() for t in gc.get_objects() if isinstance(t, torch.Tensor)}
found, held = {}, []
for precision, stage in CASES:
    before = storages()
    settings = engines.EngineSettings(stage, precision, 4, 1, 1, 1.0, 1e-3, 0.9, 0.95, 1e-8, 0.1)
    engine = engines.build_engine(ModelConfig(SHAPE), settings, 0, torch.device("cpu"))
    engine.train()
    tokens = torch.zeros(1, 64, dtype=torch.long)
    engines.backward(engine, engine(tokens, labels=tokens), 256)
    engines.update(engine)
    engines.backward(engine, engine(tokens, labels=tokens), 256)
    found[precision + str(stage)] = sum(storage.nbytes() for key, storage in storages().items() if key not in before)
    held += [before, engine]  # so that no address is given out again
print("found", json.dumps(found))
os._exit(0)
"""


@pytest.mark.launch
def test_weights_gradients_and_optimizer_are_what_deepspeed_holds() -> None:
    shape = {"dim": 128, "n_layers": 4, "n_heads": 4, "vocab_size": 512, "context_length": 64, "multiple_of": 32}
    cases = [("bf16", 1), ("bf16", 2), ("bf16", 3), ("fp32", 0), ("fp32", 2), ("fp32", 3)]
    script = ZERO.replace("CASES", repr(cases)).replace("SHAPE", ", ".join(f"{name}={value}" for name, value in shape.items()))
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=alone).stdout
    found = json.loads(told.rpartition("found ")[2])
    for precision, stage in cases:
        memory = memory_per_gpu(ModelConfig(**shape), PretrainConfig(zero_stage=stage, precision=precision), 4, 1)
        # Of the buffers, what is left after a pass: the last bucket's gradients; under ZeRO 3 the bucket, which is fp32.
        element = 2 if precision == "bf16" else 4
        left = 0 if stage == 0 else memory.buffers * (4 if stage == 3 else element) / (4 + element)
        counted = memory.weights + memory.gradients + memory.optimizer + left
        assert counted == pytest.approx(found[f"{precision}{stage}"], rel=0.03), (precision, stage)


def test_teams_share_rows_and_what_is_spread_over_them() -> None:
    model, gpu = ModelConfig(preset="llama-65b"), GPUS["a100-80gb"]

    def found(gpus: int, **pretrain) -> dict:
        return estimate(Job(model, PretrainConfig(**pretrain), 10**12, gpus, gpu))

    assert found(4096)["gpus_idle"] == 2048  # of 2048 rows
    teams = found(4096, tensor_parallel=2, sequence_parallel=True)
    assert teams["gpus_idle"] == 0 and teams["layout"]["data_parallel"] == 2048 and teams["micro_batch_rows"] == 1
    whole, halves = (
        memory_per_gpu(model, PretrainConfig(tensor_parallel=size, sequence_parallel=size > 1), 64, 1) for size in (1, 2)
    )
    assert 0.5 < halves.weights / whole.weights < 0.51 and 0.5 < halves.optimizer / (whole.optimizer) < 1.02
    host = found(64, offload_optimizer=True)
    assert host["memory_gib"]["optimizer"] == 0 and host["host_memory_gib"] == pytest.approx(
        16 * 65_285_660_672 / 64 / 2**30, rel=1e-3
    )
    assert found(16)["change"].endswith("pretrain.tensor_parallel=2 --set pretrain.sequence_parallel=true")
    assert found(64)["mfu"] > found(64, tensor_parallel=8, sequence_parallel=True)["mfu"] > 0.3


def test_more_inference_wants_a_smaller_model_for_longer() -> None:
    """L1 §1; the three rows reach one loss."""
    given, trained, served = for_inference_budget(65e9, 1.4e12, 1e13)
    losses = [chinchilla_loss(row["parameters"], row["tokens"]) for row in (given, trained, served)]
    assert max(losses) - min(losses) < 1e-9
    assert served["parameters"] < trained["parameters"] and served["tokens"] > trained["tokens"]
    assert trained["training_flops"] <= given["training_flops"] and served["flops"] <= trained["flops"]


def test_mistakes_are_told() -> None:
    assert "'a200' is not one of a100-40gb" in quipu("llama-7b", "--gpu", "a200")[1]
    assert "no share above 0" in quipu("llama-7b", "--mfu", "47.7")[1]
    assert "does not divide among 7 ranks" in quipu("llama-7b", "--gpus", "7")[1]
    assert "tensor_parallel: 3 does not divide" in quipu("llama-7b", "--gpus", "6", "--set", "pretrain.tensor_parallel=3")[1]
    assert "only pretrain.… can be changed" in quipu("llama-7b", "--set", "model.dim=3")[1]
    assert "pretrain.zero_stage: Input should be 0, 1, 2 or 3" in quipu("llama-7b", "--set", "pretrain.zero_stage=x")[1]
    code, output = quipu("configs/demo.yaml", "--gpus", "1")
    assert code == 0 and "1,572,864" in output
