"""CelebAMask-HQ at 256×256 with 19 labels and 28 000 training images: SCAM as published.

  python main.py --config=configs/celeba.py --config.data.manual_dir=DOWNLOAD
  python main.py --config=configs/celeba.py:model=sean --config.data.manual_dir=DOWNLOAD

DOWNLOAD holds the official CelebAMask-HQ/, see data/builders/celeba_mask_hq.py. It is converted
once to datasets/. With --config.data.name=celeba_mask_hq_sean, DOWNLOAD holds CelebA-HQ/, with the
label maps that the authors of SEAN prepared. On accelerators add --config.model.dtype=bfloat16 (the
authors trained in mixed precision).

Published: PSNR 21.9, R-FID 15.5, S-FID 19.8. These models were trained on the whole train split:
--config.data.train_split=authors_train.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(choices: str = "") -> ConfigDict:
    """Returns the config; `choices` are those of `common.base`."""
    config = common.base(choices)
    config.data.name = "celeba_mask_hq"
    config.data.directory = "datasets"
    config.data.num_labels = 19
    return config
