"""Layers, array functions and weight initialization that the networks share."""
