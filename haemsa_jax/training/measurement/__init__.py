"""What is measured: normalization from training data, predictions, validation, evaluation."""
