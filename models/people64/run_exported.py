"""Transfers subjects with an exported model. It needs jax, flatbuffers, numpy and safetensors.

  python run_exported.py SUBJECT.npy SUBJECT_LABELS.npy TARGET.npy TARGET_LABELS.npy OUTPUT.npy

Images are uint8 [height, width, 3] of the model's size, label maps uint8 [height, width].
"""

import importlib.util
import json
import os
import pathlib
import sys

import jax
import jaxlib
import numpy as np
from jax import export
from safetensors.flax import load_file

# jaxlib 0.10.2 adds up some products wrongly on CPUs (jax issue 39103). JAX reads this later.
OPTION = "--xla_cpu_experimental_ynn_fusion_type"
if jaxlib.__version__ == "0.10.2" and not importlib.util.find_spec("libtpu"):
    FLAGS = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = FLAGS if OPTION in FLAGS else f"{FLAGS} {OPTION}="


def load(folder=pathlib.Path(__file__).parent):
    """Returns a function that transfers batches: images uint8 [B, H, W, 3], maps [B, H, W]."""
    weights = load_file(folder / "weights.safetensors")
    program = export.deserialize((folder / "programs" / "transfer.bin").read_bytes())
    call, count = jax.jit(program.call), program.in_avals[-2].shape[1]
    data = json.loads((folder / "config.json").read_text())["data"]
    highest = count - 1 + (data["ignore_label"] >= 0)

    def transfer(subject, subject_labels, target, target_labels, labels=range(1, count)):
        for image, map_ in ((subject, subject_labels), (target, target_labels)):
            if image.dtype != np.uint8 or image.shape != (*map_.shape, 3) or map_.max() > highest:
                raise ValueError(f"need uint8 images [B, H, W, 3], and labels 0 … {highest}")
        # Whose latents each label takes: the subject's if it has any, or -1, the target's.
        has = np.stack([np.isin(np.arange(count), map_) for map_ in subject_labels])
        sources = np.where(has & np.isin(np.arange(count), labels), np.arange(count), -1)
        seeds = np.zeros(len(target), np.int32)  # of the noise
        given = subject, subject_labels, target, target_labels, np.int32(sources), seeds
        return np.asarray(call(weights, *given))

    return transfer


if __name__ == "__main__":
    *inputs, output = sys.argv[1:]
    np.save(output, load()(*(np.load(file)[None] for file in inputs))[0])
