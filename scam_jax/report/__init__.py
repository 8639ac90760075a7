"""Reports compare runs: metrics, what is missing, curves, pictures, configs.

  python -m scam_jax.report RUN… [--output=DIR] [--published=DATASET]

RUN is a run's folder, or a folder that contains runs, such as a study. Runs whose configs differ
only in the seed, and in what makes no other model (`changes.matters`), count as one model. The
command writes DIR/report.html, which needs no other file, and DIR/report.md with DIR/pictures.
"""

from scam_jax.report.content import write

__all__ = ["write"]
