"""One rank of a training stage: reads the job, trains, and leaves the reason where it cannot.

A launcher starts ranks with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT set (torchrun's convention). Exit codes: 0
finished, or stopped when asked to (then the log folder holds `interrupted`); 2 the settings, data or checkpoint were
refused; 3 the training diverged; 1 anything else. For 1-3 `failure.json` in the log folder says why.
"""

import argparse
import os
import sys
import traceback
from importlib import import_module
from pathlib import Path

from model.stop import StopRequest
from store.process import die_with_parent


def run_rank(stage: str, config: str, job: str) -> None:
    """The whole life of the process: `stage` is the module whose `train` runs, `job` the class in the module `config`.

    They are named, not imported, so that a signal that comes while torch is loading is caught too.
    """
    die_with_parent()
    # Read when torch is loaded: threads that wait for another of theirs leave the processor to whoever has work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    code = main(stage, config, job)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # gloo's threads may abort an interpreter that ends in order


def main(stage: str, config: str, job: str, arguments: list[str] | None = None) -> int:
    """Run the job on this rank; returns the exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m {stage}_rank", description=f"one rank of {stage}")
    parser.add_argument("--job", type=Path, required=True, help=f"JSON of {config}.{job}")
    job_file = parser.parse_args(arguments).job
    stop = StopRequest()

    from data.documents import CorpusError
    from model.pretrain_config import TrainingRefused
    from model.reshard import CheckpointMismatch
    from model.run_log import Diverged, RunLog

    settled = getattr(import_module(config), job).model_validate_json(job_file.read_text())
    log = RunLog(settled.logs, int(os.environ["RANK"]))
    try:
        import_module(stage).train(settled, log, stop)
    except (TrainingRefused, CheckpointMismatch, CorpusError) as error:
        log.fail("refused", str(error))
        return _say(str(error), 2)
    except Diverged as error:
        log.fail("diverged", str(error))
        return _say(str(error), 3)
    except Exception as error:  # the last frame of the process: leave the reason, then end as the error would
        log.fail("error", f"{type(error).__name__}: {error}")
        return _say(traceback.format_exc(), 1)
    return 0


def _say(message: str, code: int) -> int:
    print(f"rank {os.environ['RANK']}: {message}", file=sys.stderr, flush=True)
    return code
