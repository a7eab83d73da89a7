"""The LLaMA transformer, its training loops, generation, checkpoints and export."""
