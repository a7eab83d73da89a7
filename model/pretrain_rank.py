"""One rank of pretraining: `python -m model.pretrain_rank --job job.json`, started by a launcher with RANK, WORLD_SIZE,
MASTER_ADDR and MASTER_PORT set (torchrun's convention).

Exit codes: 0 finished, or stopped when asked to (then the log folder holds `interrupted`); 2 the settings, data or
checkpoint were refused; 3 the training diverged; 1 anything else. For 1-3 `failure.json` in the log folder says why.
"""

import argparse
import os
import sys
import traceback
from pathlib import Path

from model.stop import StopRequest
from store.process import die_with_parent


def main(arguments: list[str] | None = None) -> int:
    """Run the job on this rank; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m model.pretrain_rank", description="one rank of pretraining")
    parser.add_argument("--job", type=Path, required=True, help="JSON of model.pretrain_config.PretrainJob")
    job_file = parser.parse_args(arguments).job
    stop = StopRequest()

    from data.documents import CorpusError
    from model.checkpoint import CheckpointMismatch
    from model.pretrain import train
    from model.pretrain_config import PretrainJob, TrainingRefused
    from model.run_log import Diverged, RunLog

    job = PretrainJob.model_validate_json(job_file.read_text())
    log = RunLog(job.logs, int(os.environ["RANK"]))
    try:
        train(job, log, stop)
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


if __name__ == "__main__":
    die_with_parent()
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # gloo's threads may abort an interpreter that ends in order
