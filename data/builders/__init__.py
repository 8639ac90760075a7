"""TFDS builders of data sets that the user has downloaded: ADE20K, CelebAMask-HQ and CCP."""
