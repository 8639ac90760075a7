"""Devices: the mesh that batches are split over, and runs of several processes."""
