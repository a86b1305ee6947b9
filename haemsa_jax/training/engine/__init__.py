"""How it is minimised: state, batches, optimiser, step, devices, loop."""
