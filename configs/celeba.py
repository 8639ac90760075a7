"""CelebAMask-HQ at 256×256, 19 labels, 28 000 images: SCAM as published.

  python main.py --config=configs/celeba.py --config.data.directory=DIRECTORY

DIRECTORY holds {train,test}/{images,labels}/NAME.{jpg|png}. On accelerators add
--config.model.dtype=bfloat16 (the authors trained in mixed precision). Published: PSNR 21.9,
R-FID 15.5, S-FID 19.8.
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    config = common.base()
    config.data.directory = "datasets/CelebAMask-HQ"
    config.data.num_labels = 19
    return config
