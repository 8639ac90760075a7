"""Data sets and the input pipeline: everything that knows about files, TFDS or Grain."""
