"""Parity of the baselines with the authors' system, in evaluation and training mode, in fp32."""

from functools import partial

import jax
import numpy as np
import pytest
from helpers import by_rule, small
from helpers.closeness import assert_close, assert_trees_close

from scam_jax import models
from scam_jax.models.baselines import (
    clade,
    groupdnet,
    inade,
    residual_generator,
    sean,
    sean_clade,
    spade,
)
from scam_jax.models.layers import latents, spectral_norm
from scam_jax.weights import convert, torch_names

OUTPUT = 5e-5
ENCODERS = {
    "spade": lambda meta: spade.SPADEEncoder(),
    "sean": lambda meta: sean.SEANEncoder(
        meta["num_labels"], meta["latent_dim"], meta["num_features_fst_conv"]
    ),
    "inade": lambda meta: inade.INADEEncoder(meta["num_labels"], meta["noise_dim"]),
    "groupdnet": lambda meta: groupdnet.GroupDNetEncoder(meta["num_labels"]),
}
# file -> (module, its latents)
GENERATORS = {
    "spade": (spade.SPADEGenerator, lambda g: g["in/mu"]),
    "spade_novae": (spade.SPADEGenerator, lambda g: ()),
    "clade": (clade.CLADEGenerator, lambda g: g["in/mu"]),
    "sean": (sean.SEANGenerator, lambda g: g["in/style_codes"]),
    "sean_clade": (sean_clade.SEANCLADEGenerator, lambda g: g["in/style_codes"]),
    "inade": (inade.INADEGenerator, lambda g: (g["in/scale_mu"], g["in/bias_mu"])),
    "groupdnet": (groupdnet.GroupDNetGenerator, lambda g: g.nhwc("in/mu")),
}


def nchw(x):
    return np.asarray(x).transpose(0, 3, 1, 2) if np.ndim(x) == 4 else np.asarray(x)


def variables_of(g, module, names, *args):
    shapes = jax.eval_shape(module.init, jax.random.key(0), *args)
    return by_rule.variables(shapes, names, g.group("state/"))


def with_spectral_advanced(variables):
    if "spectral" not in variables:
        return variables
    advanced = jax.jit(spectral_norm.advance)(variables["params"], variables["spectral"])
    return {**variables, "spectral": advanced}


def assert_state_after_training(g, variables, names):
    ours = {name: tree for name, tree in variables.items() if name != "params"}
    theirs = convert.from_torch(g.group("state_after_train/"), ours, names)
    assert_trees_close(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder(golden, name):
    g = golden(f"{name}_encoder")
    module, names = ENCODERS[name](g.meta), torch_names.ENCODERS[name]
    args = by_rule.image((2, 3, g.meta["height"], g.meta["width"])), g.labels()
    variables = variables_of(g, module, names, *args)
    apply = jax.jit(module.apply)
    for mode in ("eval", "train"):
        if mode == "train":
            variables = with_spectral_advanced(variables)
        for i, out in enumerate(jax.tree.leaves(apply(variables, *args))):
            assert_close(nchw(out), g[f"out/{mode}/{i}"], atol=OUTPUT)
    assert_state_after_training(g, variables, names)


@pytest.mark.parametrize("name", GENERATORS)
def test_generator(golden, name):
    file = f"{name}_generator" if name != "spade_novae" else "spade_generator_novae"
    g, (cls, latents_of) = golden(file), GENERATORS[name]
    module = cls(
        num_labels=g.meta["num_labels"],
        features=g.meta["num_filters_last_layer"],
        num_up_layers=g.meta["num_up_layers"],
    )
    names = torch_names.GENERATORS[name.removesuffix("_novae")]
    # noise is not added, its amounts are 0; INADE's own is 0 without keys
    keys = None if name == "inade" else jax.random.split(jax.random.key(0), 2)
    args = g.labels(), latents_of(g), keys
    variables = variables_of(g, module, names, *args)
    assert_close(nchw(jax.jit(module.apply)(variables, *args)), g["out/eval/0"], atol=OUTPUT)
    variables = with_spectral_advanced(variables)
    train = jax.jit(partial(module.apply, train=True, mutable=["batch_stats"]))
    out, new = train(variables, *args)
    assert_close(nchw(out), g["out/train/0"], atol=OUTPUT)
    assert_state_after_training(g, {**variables, **new}, names)


def test_checkpoint_of_sean_may_have_shares_of_its_last_block(golden):
    """The authors' last block has parameters to blend by that it does not use."""
    g = golden("sean_generator")
    module = sean.SEANGenerator(g.meta["num_labels"], features=4)
    args = g.labels(), g["in/style_codes"], jax.random.split(jax.random.key(0), 2)
    names = torch_names.GENERATORS["sean"]
    shapes = jax.eval_shape(module.init, jax.random.key(0), *args)
    entries = {**by_rule.state_dict(shapes, names), **g.group("state/")}
    unused = "backbone.SEAN_block_6.sean_block.mod_0.blending_gamma"
    assert unused not in entries
    convert.from_torch({**entries, unused: np.zeros(1)}, shapes, names)
    del entries["backbone.SEAN_block_0.sean_block.mod_0.blending_gamma"]
    with pytest.raises(ValueError, match=r"missing: backbone\.SEAN_block_0\.sean_block\.mod_0"):
        convert.from_torch(entries, shapes, names)


@pytest.mark.parametrize("layers", [4, 5, 6, 7])
def test_blocks(layers):
    """Widths and doublings, by the specification's rule."""
    module = residual_generator.ResidualGenerator(num_labels=3, features=1, num_up_layers=layers)
    expected = {4: [8, 4, 2, 1], 5: [16, 8, 4, 2, 1], 6: [16, 16, 8, 4, 2, 1]}
    expected[7] = [16, *expected[6]]
    assert [module.width(i) for i in range(layers)] == expected[layers]
    labels, x = np.zeros((1, 40, 24)), np.zeros((1, 5, 3, 1))
    sizes = [module._size_after(i, x, labels) for i in range(layers)]
    assert sizes[0] == (10, 6)
    assert sizes[1] == ((5, 3) if layers >= 6 else (10, 6))
    assert sizes[2:] == [(10, 6)] * (layers - 3) + [(40, 24)]


@pytest.mark.parametrize("family", [name for name in models.FAMILIES if name != "scam"])
def test_images_of_any_shape(family):
    """Non-square, not divisible, one image, with absent labels."""
    config = small.config(f"model={family}", data__height=36, data__width=22)
    networks = models.build(config)
    random = np.random.default_rng(0)
    image = random.uniform(-1, 1, (1, 36, 22, 3)).astype(np.float32)
    labels, keys = np.full((1, 36, 22), 2), jax.random.split(jax.random.key(0), 1)

    def both(key):
        encoded, _ = networks.encoder.init_with_output(key, image, labels, keys)
        codes = latents.sample(encoded, keys)
        return networks.generator.init_with_output(key, labels, codes, keys)[0]

    assert jax.eval_shape(both, jax.random.key(0)).shape == (1, 36, 22, 3)
