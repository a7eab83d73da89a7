"""The commands of `quipu`, one file per subject; each offers `register(app)`."""
