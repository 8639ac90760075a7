"""iDesigner at 256×170 with the labels background, face and body: SCAM as published.

  python main.py --config=configs/idesigner.py --config.data.directory=FOLDER

FOLDER holds {train,test}/{images,labels}/NAME.{jpg|png}. The label maps come from a human parser
with LIP's 20 labels, which this config merges. To use only background and body, add
--config.data.label_map='0|*' --config.data.num_labels=2. On accelerators add
--config.model.dtype=bfloat16.

Published: PSNR 21.4, R-FID 13.2, S-FID 26.9, REIDSim 0.81, REIDAcc 0.56. These models were trained
on the whole train split: --config.data.train_split=authors_train.
"""

from ml_collections import ConfigDict

from configs import common
from scam_jax.inference import label_orders as labels


def get_config(choices: str = "") -> ConfigDict:
    """Returns the config; `choices` are those of `common.base`."""
    config = common.base(choices)
    config.data.directory = "datasets/idesigner"
    config.data.height = 256
    config.data.width = 170
    config.data.num_labels = 3
    config.data.label_map = labels.BODY_FACE_BACKGROUND
    return config
