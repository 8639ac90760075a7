"""The published figures of SCAM and of the methods that it is compared with, as data.

Source: Dufour, Picard, Kalogeiton, "SCAM! Transferring humans between images with Semantic Cross
Attention Modulation", ECCV 2022, the poster's table. All are of the test split.
"""

import dataclasses
import types
from collections.abc import Mapping
from typing import NamedTuple

from scam_jax.evaluation.results import AUTHORS

SOURCE = "Dufour et al., ECCV 2022, poster"
# The protocol of ReID's published figures: how their pairs came about was never released.
PUBLISHED = "published"
SPLIT = "test"


class Metric(NamedTuple):
    """A published metric, see `figures.Figure`."""

    protocol: str
    unit: str
    higher_is_better: bool


METRICS: Mapping[str, Metric] = types.MappingProxyType(
    {
        "PSNR": Metric(AUTHORS, "dB", True),
        "R-FID": Metric(AUTHORS, "", False),
        "S-FID": Metric(AUTHORS, "", False),
        "REIDSim": Metric(PUBLISHED, "", True),
        "REIDAcc": Metric(PUBLISHED, "", True),
    }
)


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A data set of the paper.

    Attributes:
      title: as the paper calls it.
      size: height and width of its images.
      rows: by method, the values of the first metrics of `METRICS`, as printed there.
    """

    title: str
    size: tuple[int, int]
    rows: Mapping[str, tuple[str, ...]]

    def values(self, method: str) -> dict[str, str]:
        """A method's values by metric, as printed."""
        return dict(zip(METRICS, self.rows[method], strict=False))


DATA_SETS: Mapping[str, DataSet] = types.MappingProxyType(
    {
        "idesigner": DataSet(
            "iDesigner",
            (256, 170),
            {
                "SPADE": ("10.4", "66.7", "67.5", "0.67", "0.26"),
                "CLADE": ("11.3", "45.4", "46.1", "0.68", "0.29"),
                "SEAN-CLADE": ("15.3", "48.4", "56.1", "0.75", "0.31"),
                "INADE": ("12.0", "33.0", "33.9", "0.72", "0.34"),
                "SEAN": ("14.9", "53.5", "58.7", "0.74", "0.30"),
                "SCAM": ("21.4", "13.2", "26.9", "0.81", "0.56"),
            },
        ),
        "celeba_mask_hq": DataSet(
            "CelebAMask-HQ",
            (256, 256),
            {
                "SPADE": ("10.9", "38.2", "38.3"),
                "CLADE": ("10.8", "41.8", "42.0"),
                "SEAN-CLADE": ("16.2", "19.8", "24.3"),
                "INADE": ("12.24", "22.7", "23.4"),
                "SEAN": ("16.2", "18.9", "22.8"),
                "SCAM": ("21.9", "15.5", "19.8"),
            },
        ),
        "ade20k": DataSet(
            "ADE20K",
            (256, 256),
            {
                "SPADE": ("10.7", "59.7"),
                "CLADE": ("10.4", "53.7"),
                "SEAN-CLADE": ("14.0", "38.7"),
                "INADE": ("11.3", "48.6"),
                "SEAN": ("14.6", "47.6"),
                "SCAM": ("20.0", "27.5"),
            },
        ),
    }
)
# Names in a config of the data sets above.
_NAMES = types.MappingProxyType(
    {
        "celeba_mask_hq": "celeba_mask_hq",
        "celeba_mask_hq_sean": "celeba_mask_hq",
        "ade20k": "ade20k",
    }
)


def find(data_name: str, of_folders: str | None = None) -> DataSet | None:
    """The paper's data set that a config's `data.name` is.

    Args:
      data_name: of the config.
      of_folders: which one a data set named 'folder' is, a key of `DATA_SETS`; nothing in a folder
        tells.

    Returns:
      None if it is none of them, or not known.
    """
    key = of_folders if data_name == "folder" else _NAMES.get(data_name)
    return None if key is None else DATA_SETS[key]
