"""Draws a person: the pose determines the part of each pixel, the appearance its colour.

Lengths are in units of the image height at `Pose.scale` 1. The origin of the torso's frame is at
the hips.
"""

import math
from collections.abc import Callable

import numpy as np

from data.synthetic import shapes
from data.synthetic.canvas import Canvas, paint
from data.synthetic.scene_factors import Appearance, Arm, Colour, Pattern, Pose
from data.synthetic.shapes import Frame, Points

LABELS = ("background", "skin", "hair", "top", "bottom", "hat")
_BACKGROUND, SKIN, HAIR, TOP, BOTTOM, HAT = range(len(LABELS))

_NECK = -0.36  # heights in the torso's frame
_SHOULDER = -0.29
_UPPER_ARM, _FOREARM = 0.15, 0.14
_ARM_RADIUS, _SLEEVE_RADIUS = 0.034, 0.042
# Height of the face's centre in the head's frame, whose origin is the chin; half the face's height.
_FACE, _FACE_HEIGHT = -0.15, 0.15
_WHITE: Colour = (1.0, 1.0, 1.0)
_PUPIL: Colour = (0.06, 0.05, 0.08)


def draw(canvas: Canvas, pose: Pose, appearance: Appearance) -> None:
    """Draws a person onto the canvas."""
    hips = Frame(pose.x, pose.y, 0.0, pose.scale)
    torso = hips.child(0.0, 0.0, pose.lean)
    head = torso.child(pose.head_offset, _NECK, pose.head_tilt)
    _draw_bottom(canvas, hips, pose, appearance.bottom)
    _draw_torso(canvas, torso, pose, appearance.top)
    for side, arm in ((-1, pose.left_arm), (1, pose.right_arm)):
        _draw_arm(canvas, torso, pose, arm, side, appearance)
    _draw_neck(canvas, torso, pose, appearance.skin)
    points = head.local(canvas.points)
    _draw_hair_and_face(canvas, points, pose, appearance)
    if pose.hat != "none":
        _draw_hat(canvas, points, pose, appearance.hat)


def _fill_pattern(
    canvas: Canvas,
    mask: np.ndarray,
    label: int,
    pattern: Pattern,
    points: Points,
    top: float,
    extent: float,
) -> None:
    """Fills the mask with a pattern that begins at height `top` of the frame of `points`."""
    colours = paint(pattern, points[0][mask], points[1][mask] - top, extent)
    canvas.fill(mask, label, colours)


def _draw_bottom(canvas: Canvas, hips: Frame, pose: Pose, pattern: Pattern) -> None:
    points = hips.local(canvas.points)
    u, v = points
    waist = 0.125 * pose.build
    if pose.bottom == "skirt":
        hem = waist + 0.07 + 0.09 * pose.flare
        mask = shapes.tapered_box(points, -0.05, 0.32, waist, hem, 0.01)
    else:
        outer = waist + 0.02 + 0.05 * pose.flare
        legs = shapes.tapered_box(points, -0.05, 0.4, waist, outer, 0.01)
        gap = 0.012 + (0.1 + 0.12 * pose.flare) * np.maximum(v - 0.07, 0)
        mask = legs & ((v < 0.07) | (np.abs(u) > gap))
    _fill_pattern(canvas, mask, BOTTOM, pattern, points, 0.02, 0.2)


def _draw_torso(canvas: Canvas, torso: Frame, pose: Pose, pattern: Pattern) -> None:
    points = torso.local(canvas.points)
    mask = shapes.tapered_box(
        points, _NECK + 0.01, 0.03, 0.165 * pose.build, 0.13 * pose.build, 0.05
    )
    _fill_pattern(canvas, mask, TOP, pattern, points, _NECK, 0.38)


def _draw_arm(
    canvas: Canvas, torso: Frame, pose: Pose, arm: Arm, side: int, appearance: Appearance
) -> None:
    """Draws an arm with its hand, then the sleeve; `side` is -1 for the arm on the left, else 1."""
    points = torso.local(canvas.points)
    shoulder = (side * 0.13 * pose.build, _SHOULDER)
    elbow = _step(shoulder, side * arm.upper, _UPPER_ARM)
    wrist = _step(elbow, side * arm.fore, _FOREARM)
    upper_along, upper_distance = shapes.along_segment(points, shoulder, elbow)
    fore_along, fore_distance = shapes.along_segment(points, elbow, wrist)
    hand = shapes.disc(points, _step(wrist, side * arm.fore, 0.02), 0.044)
    limb = hand | (upper_distance < _ARM_RADIUS) | (fore_distance < _ARM_RADIUS)
    canvas.fill(limb, SKIN, appearance.skin)
    along = np.where(upper_distance < fore_distance, upper_along, _UPPER_ARM + fore_along)
    cloth = np.minimum(upper_distance, fore_distance) < _SLEEVE_RADIUS
    sleeve = cloth & (along < pose.sleeve * (_UPPER_ARM + _FOREARM))
    canvas.fill(sleeve, TOP, _sleeve_colours(appearance.top, along[sleeve], side))


def _step(start: tuple[float, float], angle: float, length: float) -> tuple[float, float]:
    return start[0] + length * math.sin(angle), start[1] + length * math.cos(angle)


def _sleeve_colours(pattern: Pattern, along: np.ndarray, side: int) -> np.ndarray:
    """Returns the colours of a sleeve: the pattern of the top, laid along the arm."""
    colours = np.array(pattern.colours, np.float32)
    match pattern.kind:
        case "bands":
            index = np.floor((along + 0.02) / (1.5 * pattern.width)).astype(np.int32) % 3
        case "split":
            index = np.full(along.shape, int(side == pattern.mirror))
        case "diagonal":
            index = np.full(along.shape, 2 if side == pattern.mirror else 0)
        case _:
            index = np.full(along.shape, 2)
    return colours[index]


def _draw_neck(canvas: Canvas, torso: Frame, pose: Pose, skin: Colour) -> None:
    points = torso.local(canvas.points)
    neck = shapes.capsule(points, (pose.head_offset, _NECK - 0.05), (0.0, _NECK + 0.03), 0.05)
    canvas.fill(neck, SKIN, skin)


def _hair_masks(points: Points, pose: Pose) -> tuple[np.ndarray, float]:
    """Returns the mask of the hair, including the face below it, and the hair's lower end."""
    width = pose.face_width
    cap = shapes.ellipse(points, (0, _FACE - 0.02), (width + 0.025, _FACE_HEIGHT + 0.012))
    above_jaw = points[1] < _FACE + 0.03
    match pose.hair:
        case "short":
            return cap & above_jaw, _FACE + 0.03
        case "curly":
            radius = 0.18 * (0.7 + 0.3 * pose.hair_length)
            return shapes.disc(points, (0, _FACE - 0.03), radius), _FACE - 0.03 + radius
        case "bun":
            bun = shapes.disc(points, (0, _FACE - 0.19), 0.055)
            return (cap & above_jaw) | bun, _FACE + 0.03
        case "pigtails":
            end = _FACE + 0.11 * pose.hair_length
            mask = cap & above_jaw
            for side in (-1, 1):
                start = (side * (width + 0.035), _FACE - 0.01)
                mask = mask | shapes.capsule(points, start, (side * (width + 0.065), end), 0.045)
            return mask, end + 0.045
        case "bob" | "long":
            end = _FACE + (0.12 if pose.hair == "bob" else 0.28) * pose.hair_length
            mask = cap & above_jaw
            for side in (-1, 1):
                start = (side * (width - 0.012), _FACE - 0.02)
                mask = mask | shapes.capsule(points, start, (side * (width + 0.01), end), 0.042)
            return mask, end + 0.042
    raise ValueError(
        f"unknown hair {pose.hair!r}; data/synthetic/scene_factors.py lists the shapes"
    )


def _draw_hair_and_face(canvas: Canvas, points: Points, pose: Pose, appearance: Appearance) -> None:
    hair, end = _hair_masks(points, pose)
    top = _FACE - _FACE_HEIGHT - 0.03
    _fill_pattern(canvas, hair, HAIR, appearance.hair, points, top, end - top)
    u, v = points
    face = shapes.ellipse(points, (0, _FACE), (pose.face_width, _FACE_HEIGHT))
    # The fringe is bounded by two arcs that meet at the parting.
    parting = pose.parting * pose.face_width
    fringe = v < _FACE - pose.fringe + 1.6 * (u - parting) ** 2
    ears = shapes.disc(points, (pose.face_width, _FACE + 0.01), 0.028)
    ears |= shapes.disc(points, (-pose.face_width, _FACE + 0.01), 0.028)
    bare = face & ~fringe
    if pose.hair in ("short", "bun"):
        bare |= ears
    canvas.fill(bare, SKIN, appearance.skin)
    _draw_features(canvas, points, bare, appearance)


def _draw_features(
    canvas: Canvas, points: Points, face: np.ndarray, appearance: Appearance
) -> None:
    """Draws eyes, brows, cheeks, nose, mouth and glasses onto the visible skin of the face."""

    def add(mask: np.ndarray, colour: Colour) -> None:
        canvas.fill(mask & face, SKIN, colour)

    for side in (-1, 1):
        eye = (side * 0.054, _FACE + 0.012)
        add(shapes.disc(points, (side * 0.082, _FACE + 0.066), 0.027), appearance.blush)
        if appearance.glasses is not None:
            add(shapes.disc(points, eye, 0.052), appearance.glasses)
        add(shapes.ellipse(points, eye, (0.034, 0.037)), _WHITE)
        add(shapes.disc(points, (eye[0], eye[1] + 0.004), 0.024), appearance.iris)
        add(shapes.disc(points, (eye[0], eye[1] + 0.004), 0.012), _PUPIL)
        inner, outer = (side * 0.03, eye[1] - 0.05), (side * 0.075, eye[1] - 0.046)
        add(shapes.capsule(points, inner, outer, 0.009), appearance.brow)
    if appearance.glasses is not None:
        add(shapes.rounded_box(points, (0, _FACE + 0.005), (0.02, 0.006)), appearance.glasses)
    red, green, blue = appearance.skin
    shade = (0.8 * red, 0.8 * green, 0.8 * blue)
    add(shapes.ellipse(points, (0, _FACE + 0.05), (0.014, 0.011)), shade)
    _draw_mouth(add, points, appearance)


def _draw_mouth(
    add: Callable[[np.ndarray, Colour], None], points: Points, appearance: Appearance
) -> None:
    centre = (0.0, _FACE + 0.09)
    lower = points[1] > centre[1]
    if appearance.mouth == "smile":
        add(lower & shapes.ellipse(points, centre, (0.05, 0.034)), appearance.lips)
    elif appearance.mouth == "open":
        add(shapes.ellipse(points, centre, (0.032, 0.026)), appearance.lips)
        add(~lower & shapes.ellipse(points, centre, (0.024, 0.018)), _WHITE)
    else:
        add(~lower & shapes.ellipse(points, centre, (0.058, 0.024)), appearance.brow)
        add(shapes.ellipse(points, (0, centre[1] + 0.012), (0.026, 0.01)), appearance.lips)


def _draw_hat(canvas: Canvas, points: Points, pose: Pose, pattern: Pattern) -> None:
    v = points[1]
    brow = _FACE - 0.085
    width = pose.face_width + 0.035
    if pose.hat == "beanie":
        crown = shapes.ellipse(points, (0, brow + 0.02), (width, 0.15)) & (v < brow)
        band = shapes.rounded_box(points, (0, brow - 0.012), (width + 0.008, 0.03), 0.02)
        extent = 0.1
    else:
        crown = shapes.tapered_box(points, brow - 0.14, brow, 0.8 * width, 0.95 * width, 0.03)
        band = shapes.ellipse(points, (0, brow - 0.012), (width + 0.075, 0.034))
        extent = 0.09
    _fill_pattern(canvas, crown | band, HAT, pattern, points, brow - 0.14, extent)
