"""TFDS builders of data sets that the user has downloaded: ADE20K and CelebAMask-HQ."""
