"""What PyTorch's files call the entries that are our variables: the only file that knows."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Names(NamedTuple):
    """How a network's entries are called in PyTorch.

    Attributes:
      modules: patterns of our modules' paths and what becomes of them, applied in order.
      left_out: pattern of entries that have no variable of ours.
    """

    modules: Sequence[tuple[str, str | Callable[[re.Match], str]]]
    left_out: str = r"(?!)"


# What PyTorch only derives, or counts in training.
_DERIVED = r"(^|\.)(latents_mask|inv_freq|num_batches_tracked)$"

SCAM = Names(
    [
        # the encoder
        (r"^conv_(\d+)$", r"convs.\1.0"),
        (r"(cross|self)_attention_(\d+)", r"backbone.block_\2.\1_attention"),
        # the generator
        (r"label_map_encoder/shared", "segmap_encoder.shared_mlp.0"),
        (r"label_map_encoder/gamma", "segmap_encoder.gamma_mlp"),
        (r"label_map_encoder/beta", "segmap_encoder.mu_mlp"),
        (r"block_(\d+)_rgb_mod", r"backbone.SCAM_block_\1.torgb.mod_rgb"),
        (r"block_(\d+)_rgb_conv", r"backbone.SCAM_block_\1.torgb.conv_rgb"),
        (r"block_(\d+)_(conv_\d)", r"backbone.SCAM_block_\1.\2.1"),
        (r"block_(\d+)_(\w+)", r"backbone.SCAM_block_\1.\2"),
        (r"/gamma$", ".mlp_lti_gamma"),
        (r"/beta$", ".mlp_lti_beta"),
        (r"latent_mlp_1", "fc_itl.0"),
        (r"latent_mlp_2", "fc_itl.2"),
        # attention; the authors' layers of keys and values have each other's names
        (r"(^|/)query$", r"\1q_linear"),
        (r"(^|/)key$", r"\1v_linear"),
        (r"(^|/)value$", r"\1k_linear"),
        (r"(^|/)out$", r"\1out.0"),
        (r"norm_(\d)$", r"ln_\1"),
        (r"mlp_1$", "fc.0"),
        (r"mlp_2$", "fc.2"),
        # the discriminator
        (r"scale_(\d)/(conv_\d|last_conv)", r"discriminators.discriminator_\1.model.\2.0"),
    ],
    left_out=_DERIVED,
)

# torchvision only numbers the layers of VGG19 and AlexNet, ReLUs and pools included.
_VGG19_INDEX = dict(
    zip(
        [(b, i) for b, n in enumerate((2, 2, 4, 4, 1), 1) for i in range(1, n + 1)],
        [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28],
        strict=True,
    )
)
_ALEXNET_INDEX = (0, 3, 6, 8, 10)

# By the names of `pretrained.SOURCES`.
FROZEN = {
    "vgg19": Names(
        [(r"^relu(\d)_(\d)$", lambda m: f"features.{_VGG19_INDEX[int(m[1]), int(m[2])]}")],
        left_out=r"^classifier\.|^features\.(30|32|34)\.",
    ),
    "alexnet": Names(
        [(r"^conv_(\d)$", lambda m: f"features.{_ALEXNET_INDEX[int(m[1]) - 1]}")],
        left_out=r"^classifier\.",
    ),
    "lpips_alex": Names([(r"^layer_(\d)$", lambda m: f"lin{int(m[1]) - 1}.model.1")]),
    "inception": Names(
        [
            (r"^conv_", "Conv2d_"),
            (r"^mixed_(\w\w)_", r"Mixed_\1.branch"),
            (r"branchpool", "branch_pool"),
            (r"/norm$", ".bn"),
        ],
        left_out=rf"^fc\.|{_DERIVED}",
    ),
    "reid_resnet50": Names(
        [
            (r"^layer_(\d)_(\d)", r"layer\1.\2"),
            (r"shortcut/conv$", "downsample.0"),
            (r"shortcut/norm$", "downsample.1"),
            (r"unit_(\d)/conv$", r"conv\1"),
            (r"unit_(\d)/norm$", r"bn\1"),
        ],
        left_out=rf"^fc\.|{_DERIVED}",
    ),
}

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "variance": "running_var",
    "noise_scale": "noise_var",
    "blend_gamma": "blending_gamma",
    "blend_beta": "blending_beta",
}


def torch_name(path: Sequence[str], names: Names = SCAM) -> str:
    """PyTorch's name of our variable at `path` within a network (the collection left out)."""
    module = "/".join(path[:-1])
    for pattern, name in names.modules:
        module = re.sub(pattern, name, module)
    return ".".join([*filter(None, module.split("/")), _LEAVES.get(path[-1], path[-1])])


def vgg19_kernels() -> list[str]:
    """PyTorch's names of the kernels of VGG19, in order; their widths are the file's own."""
    return [f"features.{index}.weight" for index in _VGG19_INDEX.values()]
