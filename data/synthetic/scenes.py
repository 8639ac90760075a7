"""Draws people from known factors, with exact label maps and exact subject transfers.

`draw(background, pose, appearance, height, width)` is a pure function of its arguments. The perfect
transfer of the person of scene A into scene B is therefore known: it is
`draw(B.background, B.pose, A.appearance, …)`, with the label map of B. A pixel belongs to the part
at its centre, so label maps are exact and colours never mix at borders.
"""

import numpy as np

from data.synthetic import canvas as canvases
from data.synthetic import scene_background, scene_person
from data.synthetic.scene_factors import Appearance, Background, Pose

__all__ = ["LABELS", "NUM_LABELS", "Appearance", "Background", "Pose", "draw"]

LABELS = scene_person.LABELS
NUM_LABELS = len(LABELS)


def draw(
    background: Background, pose: Pose, appearance: Appearance, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws a scene.

    Args:
      background: the background behind the person.
      pose: the person's geometry.
      appearance: the person's colours and patterns.
      height: number of rows; the scene fills the height at any resolution.
      width: number of columns; a narrower image shows less of the scene's sides.

    Returns:
      The image, uint8 `[height, width, 3]`, and its label map, uint8 `[height, width]`, with values
      below `NUM_LABELS`. `LABELS` names them.

    Raises:
      ValueError: height or width is not positive.
    """
    if height < 1 or width < 1:
        raise ValueError(f"cannot draw a scene of {height}×{width} pixels: both must be at least 1")
    canvas = canvases.blank(height, width)
    scene_background.draw(canvas, background)
    scene_person.draw(canvas, pose, appearance)
    return np.rint(canvas.image * 255).astype(np.uint8), canvas.labels
