"""Frozen pretrained networks: VGG19, Inception v3, LPIPS and the re-identification ResNet."""
