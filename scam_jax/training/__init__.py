"""Training: state, losses, gradients, the training step and loop, and checkpoints."""
