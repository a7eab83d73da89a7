"""One rank of supervised fine-tuning: `python -m model.sft_rank --job job.json`; see `model/rank.py`."""

from model.rank import run_rank

if __name__ == "__main__":
    run_rank("model.sft", "model.sft_config", "SftJob")
