"""A config file for runs that are stopped and damaged many times: small, but all that runs do."""

from helpers import small


def get_config():
    return small.config(
        data__augmentation="basic",
        train__log_every=1,
        train__panel_every=50,
        train__checkpoint_every=5,
        train__ema_decay=0.9,
        train__keep_best="psnr",
    )
