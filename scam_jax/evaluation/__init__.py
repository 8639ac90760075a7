"""Evaluation: figures by two protocols, the frozen networks that judge images, results."""
