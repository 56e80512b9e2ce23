"""A label in space: atoms, bonds, cell, and arrows of moments or forces that can be switched."""

from __future__ import annotations

from typing import Any

import numpy as np
from nicegui import ui

from datastore.schema import SpinPoint
from workflows.serve.structure import FORCE_COLOUR, Arrow, Scene, Vector, scene_of, turn
from workflows.structures.draw import DOWN, UP

WIDTH, HEIGHT = 622, 500
VIEW = np.array([0.42, -0.86, 0.30])
"""Direction from the crystal to the viewer; z points up."""

ANGLE = 28.0
"""Vertical field of view, degrees."""

NEAR = 4.3
"""Distance of the viewer in radii of the picture, which then just fits."""

SHAFT, HEAD = 0.09, 0.24
"""Radii of an arrow, Angstrom."""


def draw_scene(point: SpinPoint) -> None:
    """The picture with its switch and legend; turned with the mouse, zoomed with the wheel."""
    found = scene_of(point)
    with ui.row().classes("w-full items-center").style("gap: 14px"):
        names = {"found": "moments found", "asked": "asked for", "forces": "forces", "": "none"}
        switch = ui.toggle(names, value="found").props("dense unelevated no-caps size=sm toggle-color=primary")
        ui.space()
        _legend(found)
    camera = ui.scene.perspective_camera(fov=ANGLE)
    with ui.scene(WIDTH, HEIGHT, False, camera, background_color="#ffffff", control_type="trackball") as scene:
        scene.classes("w-full").mark("scene")
        groups = _objects(scene, found)
    largest = f"longest arrow: {found.largest['moments']:.2f} μB, or {found.largest['forces']:.2f} eV/Å"
    ui.label(f"{largest}; drag to turn, scroll to zoom").classes("soft")
    eye = VIEW / np.linalg.norm(VIEW) * found.reach * NEAR
    scene.move_camera(x=eye[0], y=eye[1], z=eye[2], look_at_x=0, look_at_y=0, look_at_z=0, duration=0)

    def choose() -> None:
        for name, group in groups.items():
            group.visible(name == switch.value)

    switch.on_value_change(choose)


def _objects(scene: ui.scene, found: Scene) -> dict[str, Any]:
    for atom in found.atoms:
        scene.sphere(atom.radius, 20, 12).material(atom.colour).move(*atom.at)
    for start, end in found.bonds:
        _stick(scene, start, end, 0.06, "#c3c8cf")
    for start, end in found.edges:
        scene.line(list(start), list(end)).material("#6b7280")
    groups = {}
    for name, arrows in (("found", found.found), ("asked", found.asked), ("forces", found.forces)):
        with scene.group() as group:
            for arrow in arrows:
                _arrow(scene, arrow)
        groups[name] = group.visible(name == "found")
    return groups


def _stick(scene: ui.scene, start: Vector, end: Vector, radius: float, colour: str) -> None:
    first, last = np.array(start), np.array(end)
    length = float(np.linalg.norm(last - first))
    x, y, z = ((last - first) / length).tolist()
    scene.cylinder(radius, radius, length, 6).material(colour).move(*((first + last) / 2).tolist()).rotate_R(
        turn((x, y, z))
    )


def _arrow(scene: ui.scene, arrow: Arrow) -> None:
    """A shaft and a cone, both along the arrow."""
    head = min(0.55, 0.5 * arrow.length)
    middle, along = np.array(arrow.middle), np.array(arrow.along)
    rotation = turn(arrow.along)
    shaft = (middle - along * head / 2).tolist()
    tip = (middle + along * (arrow.length - head) / 2).tolist()
    scene.cylinder(SHAFT, SHAFT, arrow.length - head, 10).material(arrow.colour).move(*shaft).rotate_R(rotation)
    scene.cylinder(0.0, HEAD, head, 14).material(arrow.colour).move(*tip).rotate_R(rotation)


def _legend(found: Scene) -> None:
    elements = dict.fromkeys((atom.symbol, atom.colour) for atom in found.atoms)
    marks = [*elements, ("up", UP), ("down", DOWN), ("force", FORCE_COLOUR)]
    with ui.row().classes("items-center").style("gap: 10px"):
        for name, colour in marks:
            with ui.row(wrap=False).classes("items-center").style("gap: 4px"):
                ui.element("span").style(f"width: 10px; height: 10px; border-radius: 50%; background: {colour}")
                ui.label(name).classes("soft")
