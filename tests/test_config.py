"""Configs are checked before anything starts."""

import pytest
import small

from scam_jax.config import validate


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (dict(train__batch_size=0), r"config.train.batch_size = 0: use 1 or more"),
        (dict(model__dtype="float16"), r"config.model.dtype = 'float16': use one of float32, bfl"),
        (dict(data__num_labels=300), r"config.data.num_labels = 300: .*at most 256"),
        (dict(model__generator__features=6), r"features = 6: .*divisible by 4"),
        (
            dict(model__generator__num_up_layers=5),
            r"num_up_layers = 5: .*16×16 image would be empty",
        ),
        (dict(model__encoder__num_heads=3), r"encoder.num_heads = 3: must divide .*= 16"),
        (dict(model__encoder__position_dim=6), r"position_dim = 6: .*divisible by 4"),
        (dict(model__generator__attention="triplex"), r"attention = 'triplex': use one of duplex"),
        (dict(losses__l1__start=1.0), r"losses.l1 = .*equal factors"),
        (dict(losses__kl__start=1.0, losses__kl__end=1.0), r"kl.end = 1.0: .*use_vae = True"),
        (dict(train__ema_decay=1.0), r"ema_decay = 1.0: use 0"),
        (dict(optimizer__generator_learning_rate=-1.0), r"generator_learning_rate = -1.0"),
    ],
)
def test_impossible_values_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        validate(small.config(**overrides))


def test_batch_must_divide_among_devices():
    with pytest.raises(ValueError, match=r"batch_size = 4: must be a multiple .* devices, 3"):
        validate(small.config(), num_devices=3)
