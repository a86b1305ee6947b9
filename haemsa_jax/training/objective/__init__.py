"""What is minimised: losses of a batch, and what they are weighed by."""
