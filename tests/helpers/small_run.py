"""A config file for runs of the real program on a small folder data set."""

from helpers import small


def get_config():
    config = small.config(
        data__height=20,
        data__augmentation="basic",
        data__skip_bad_files=True,
        train__num_steps=8,
        train__log_every=1,
        train__checkpoint_every=2,
        eval__every=4,
        parser__num_steps=6,
        train__ema_decay=0.9,
        # With less, a gradient of almost 0 moves its weight by its sign: by chance.
        optimizer__eps=1e-3,
    )
    return config
