"""One rank of a reward model: `python -m model.reward_rank --job job.json` (see `model/tuning_rank.py`)."""

from model.tuning_rank import run_rank

if __name__ == "__main__":
    run_rank("model.reward_rank", "model.reward_config:RewardJob", "model.reward:train")
