"""The discriminators: multi-scale PatchGAN, StyleGAN2-style and OASIS."""
