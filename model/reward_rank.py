"""One rank of a reward model: `python -m model.reward_rank --job job.json`; see `model/rank.py`."""

from model.rank import run_rank

if __name__ == "__main__":
    run_rank("model.reward", "model.reward_config", "RewardJob")
