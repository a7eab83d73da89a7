"""One rank of supervised fine-tuning: `python -m model.sft_rank --job job.json` (see `model/tuning_rank.py`)."""

from model.tuning_rank import run_rank

if __name__ == "__main__":
    run_rank("model.sft_rank", "model.sft_config:SftJob", "model.sft:train")
