"""SCAM (Dufour, Picard, Kalogeiton, ECCV 2022) for JAX: per-region latents and subject transfer."""

__version__ = "0.1.0"
