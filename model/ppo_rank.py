"""One rank of PPO: `python -m model.ppo_rank --job job.json`; see `model/rank.py`."""

from model.rank import run_rank

if __name__ == "__main__":
    run_rank("model.ppo", "model.ppo_config", "PpoJob")
