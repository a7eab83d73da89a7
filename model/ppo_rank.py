"""One rank of PPO: `python -m model.ppo_rank --job job.json` (see `model/tuning_rank.py`)."""

from model.tuning_rank import run_rank

if __name__ == "__main__":
    run_rank("model.ppo_rank", "model.ppo_config:PpoJob", "model.ppo:train")
