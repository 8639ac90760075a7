"""Synthetic people: the factors of a scene, its drawing, and the TFDS builder."""
