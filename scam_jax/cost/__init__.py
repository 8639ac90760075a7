"""The cost of training: FLOPs, peaks of chips, and compilation for pods that need not exist."""
