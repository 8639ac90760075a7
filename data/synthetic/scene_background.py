"""Draws the background: a wall, a floor and a few things."""

import numpy as np

from data.synthetic import shapes
from data.synthetic.canvas import Canvas
from data.synthetic.scene_factors import Background, Thing
from data.synthetic.shapes import Frame

LABEL = 0
_SKY = (0.75, 0.9, 1.0)
_DARK_WOOD = (0.35, 0.22, 0.15)


def draw(canvas: Canvas, background: Background) -> None:
    """Fills the whole canvas with a background."""
    y = canvas.points[1][..., None]
    share = np.clip(y / background.horizon, 0, 1)
    wall = (1 - share) * np.array(background.wall_top) + share * np.array(background.wall_bottom)
    canvas.image[:] = np.where(y < background.horizon, wall, np.array(background.floor))
    for thing in background.things:
        _THINGS[thing.kind](canvas, thing, background.horizon)


def _draw_disc(canvas: Canvas, thing: Thing, horizon: float) -> None:
    points = Frame(thing.x, thing.y).local(canvas.points)
    canvas.fill(shapes.disc(points, (0, 0), thing.size), LABEL, thing.colours[0])
    canvas.fill(shapes.disc(points, (0, 0), 0.55 * thing.size), LABEL, thing.colours[1])


def _draw_picture(canvas: Canvas, thing: Thing, horizon: float) -> None:
    points, size = Frame(thing.x, thing.y).local(canvas.points), thing.size
    canvas.fill(shapes.rounded_box(points, (0, 0), (0.8 * size, size)), LABEL, thing.colours[0])
    inside = shapes.rounded_box(points, (0, 0), (0.55 * size, 0.75 * size))
    canvas.fill(inside, LABEL, thing.colours[1])
    hill = inside & shapes.disc(points, (0.2 * size, 0.8 * size), 0.75 * size)
    canvas.fill(hill, LABEL, thing.colours[0])


def _draw_window(canvas: Canvas, thing: Thing, horizon: float) -> None:
    points, size = Frame(thing.x, thing.y).local(canvas.points), 1.2 * thing.size
    canvas.fill(shapes.rounded_box(points, (0, 0), (size, size)), LABEL, thing.colours[0])
    for u in (-0.43, 0.43):
        for v in (-0.43, 0.43):
            pane = shapes.rounded_box(points, (u * size, v * size), (0.31 * size, 0.31 * size))
            canvas.fill(pane, LABEL, _SKY)


def _draw_lamp(canvas: Canvas, thing: Thing, horizon: float) -> None:
    floor = min(horizon + 0.06, 0.97)
    points, size = Frame(thing.x, floor).local(canvas.points), thing.size
    top = thing.y + 0.05 - floor
    canvas.fill(shapes.capsule(points, (0, 0), (0, top), 0.014), LABEL, _DARK_WOOD)
    canvas.fill(shapes.ellipse(points, (0, 0), (0.6 * size, 0.2 * size)), LABEL, _DARK_WOOD)
    shade = shapes.tapered_box(
        points, top - 0.6 * size, top + 0.6 * size, 0.45 * size, 0.9 * size, 0.01
    )
    canvas.fill(shade, LABEL, thing.colours[0])


def _draw_plant(canvas: Canvas, thing: Thing, horizon: float) -> None:
    floor = min(horizon + 0.05, 0.97)
    points, size = Frame(thing.x, floor).local(canvas.points), thing.size
    green = (0.15 + 0.2 * thing.colours[1][0], 0.45 + 0.3 * thing.colours[1][1], 0.25)
    for angle, length in ((-0.75, 1.5), (0.75, 1.5), (-0.3, 2.1), (0.35, 2.0)):
        leaf = Frame(thing.x, floor - 0.9 * size, angle).local(canvas.points)
        radii = (0.32 * size, 0.5 * length * size)
        canvas.fill(shapes.ellipse(leaf, (0, -radii[1]), radii), LABEL, green)
    pot = shapes.tapered_box(points, -size, 0.0, 0.6 * size, 0.4 * size, 0.01)
    canvas.fill(pot, LABEL, thing.colours[0])


def _draw_shelf(canvas: Canvas, thing: Thing, horizon: float) -> None:
    points, size = Frame(thing.x, thing.y).local(canvas.points), thing.size
    board = shapes.rounded_box(points, (0, 0.5 * size), (1.1 * size, 0.12 * size))
    canvas.fill(board, LABEL, _DARK_WOOD)
    for u, half_height, colour in ((-0.6, 0.5, 0), (0.0, 0.38, 1), (0.6, 0.45, 0)):
        centre = (u * size, (0.38 - half_height) * size)
        book = shapes.rounded_box(points, centre, (0.27 * size, half_height * size))
        canvas.fill(book, LABEL, thing.colours[colour])


_THINGS = {
    "disc": _draw_disc,
    "picture": _draw_picture,
    "window": _draw_window,
    "lamp": _draw_lamp,
    "plant": _draw_plant,
    "shelf": _draw_shelf,
}
