"""SCAM (Dufour, Picard, Kalogeiton, ECCV 2022) for JAX: per-region latents and subject transfer."""
