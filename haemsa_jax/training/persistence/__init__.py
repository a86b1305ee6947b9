"""What is kept of a training: checkpoints, the log, and the checks of its directory."""
