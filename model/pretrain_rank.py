"""One rank of pretraining: `python -m model.pretrain_rank --job job.json`; see `model/rank.py`."""

from model.rank import run_rank

if __name__ == "__main__":
    run_rank("model.pretrain", "model.pretrain_config", "PretrainJob")
