"""ADE20K at 256×256 with 151 labels (0 is "other") and 20 210 training images: SCAM as published.

  python main.py --config=configs/ade20k.py --config.data.manual_dir=DOWNLOAD

DOWNLOAD holds the official ADEChallengeData2016/, see data/builders/ade20k.py. It is converted once
to datasets/. A folder {train,test}/{images,labels}/NAME.{jpg|png} works too: add
--config.data.name=folder --config.data.directory=FOLDER. On accelerators add
--config.model.dtype=bfloat16.

Published: PSNR 20.0, R-FID 27.5. These models were trained on the whole train split:
--config.data.train_split=authors_train.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(choices: str = "") -> ConfigDict:
    """Returns the config; `choices` are those of `common.base`."""
    config = common.base(choices)
    config.data.name = "ade20k"
    config.data.directory = "datasets"
    config.data.num_labels = 151
    config.data.augmentation = "crop"
    return config
