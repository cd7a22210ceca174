"""Turns the stock scene into an instance, by editing the compiled model in place.

Done before the renderer is made, which copies textures and meshes. What changes is the object, the
table, the floor and the lights; the arm stays as it is.
"""

from pathlib import Path

import mujoco
import numpy as np
from PIL import Image

from engraft_client.metaworld.instances import Instance, draw_colour, draw_scale, split_textures

SCENERY = {"tablelink", "RetainingWall", "base", "mocap"}
"""Bodies at the root of every MetaWorld scene that are not the task's objects."""
SURFACES = ("T_table", "T_floor")
"""The textures of table and floor."""
PLAIN = 235
"""What an object's own texture is painted with, so that its tint shows."""
GEOM = mujoco.mjtGeom


def apply(model: mujoco.MjModel, data: mujoco.MjData, instance: Instance, textures: Path) -> None:
    """Makes the scene's object `instance`; `textures` is the folder of MetaWorld's own pictures."""
    bodies = object_bodies(model)
    if instance.changes_look:
        paint_object(model, bodies, instance)
        paint_surfaces(model, instance, textures)
        relight(model, instance)
    if instance.changes_shape:
        stretch(model, data, bodies, draw_scale(instance.rng("shape"), instance.split))


def object_bodies(model: mujoco.MjModel) -> list[int]:
    """The bodies of the task's objects, parents before children."""
    bodies: list[int] = []
    for body in range(1, model.nbody):
        parent = int(model.body_parentid[body])
        is_root = parent == 0 and model.body(body).name not in SCENERY
        if is_root or parent in bodies:
            bodies.append(body)
    return bodies


def geoms_of(model: mujoco.MjModel, body: int) -> range:
    """The geoms of a body."""
    first = int(model.body_geomadr[body])
    return range(first, first + int(model.body_geomnum[body]))


def paint_object(model: mujoco.MjModel, bodies: list[int], instance: Instance) -> None:
    """Gives each material of the object, and each geom without one, a colour."""
    rng = instance.rng("object")
    geoms = [geom for body in bodies for geom in geoms_of(model, body)]
    for material in sorted({int(model.geom_matid[geom]) for geom in geoms} - {-1}):
        model.mat_rgba[material, :3] = draw_colour(rng, instance.split)
        for texture in model.mat_texid[material]:
            if texture >= 0:
                model.tex_data[texels(model, int(texture))] = PLAIN
    for geom in geoms:
        if model.geom_matid[geom] < 0:
            model.geom_rgba[geom, :3] = draw_colour(rng, instance.split)


def texels(model: mujoco.MjModel, texture: int) -> slice:
    """Where the values of a texture lie."""
    first = int(model.tex_adr[texture])
    count = int(model.tex_width[texture] * model.tex_height[texture] * model.tex_nchannel[texture])
    return slice(first, first + count)


def paint_surfaces(model: mujoco.MjModel, instance: Instance, textures: Path) -> None:
    """Covers table and floor with pictures that the split has for itself."""
    rng = instance.rng("surfaces")
    names = [path.name for path in textures.glob("*.png")]
    for surface in SURFACES:
        name = str(rng.choice(split_textures(names, instance.split)))
        texture = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_TEXTURE, surface)
        if texture >= 0:
            cover(model, texture, textures / name)


def cover(model: mujoco.MjModel, texture: int, path: Path) -> None:
    """Replaces a texture by a picture; on a cube, every face shows it."""
    width, height = int(model.tex_width[texture]), int(model.tex_height[texture])
    is_cube = model.tex_type[texture] == mujoco.mjtTexture.mjTEXTURE_CUBE and height == 6 * width
    with Image.open(path) as picture:
        face = np.asarray(picture.convert("RGB").resize((width, width if is_cube else height)))
    pixels = np.concatenate([face] * 6) if is_cube else face
    model.tex_data[texels(model, texture)] = pixels[..., : model.tex_nchannel[texture]].reshape(-1)


def relight(model: mujoco.MjModel, instance: Instance) -> None:
    """Moves the lights and changes their strength and tint."""
    rng = instance.rng("lights")
    for light in range(model.nlight):
        model.light_diffuse[light] = rng.uniform(0.1, 0.6) * rng.uniform(0.7, 1.0, size=3)
        direction = model.light_dir[light] + rng.normal(0.0, 0.25, size=3)
        model.light_dir[light] = direction / np.linalg.norm(direction)
    model.vis.headlight.ambient[:] = rng.uniform(0.2, 0.5)


def stretch(
    model: mujoco.MjModel, data: mujoco.MjData, bodies: list[int], scale: np.ndarray
) -> None:
    """Stretches the objects along the world's axes, as they stand in the scene's first pose."""
    mujoco.mj_forward(model, data)
    world = np.diag(scale)
    done: set[int] = set()
    for body in bodies:
        turn = data.xmat[body].reshape(3, 3).copy()  # from the body's axes to the world's
        own = turn.T @ world @ turn
        parent = int(model.body_parentid[body])
        if parent in bodies:
            above = data.xmat[parent].reshape(3, 3)
            model.body_pos[body] = above.T @ world @ above @ model.body_pos[body]
        for geom in geoms_of(model, body):
            model.geom_pos[geom] = own @ model.geom_pos[geom]
            stretch_geom(model, geom, own, done)
        for joint in np.flatnonzero(model.jnt_bodyid == body):
            model.jnt_pos[joint] = own @ model.jnt_pos[joint]
        for site in np.flatnonzero(model.site_bodyid == body):
            model.site_pos[site] = own @ model.site_pos[site]
    # The boxes that speed up collisions inside a body are of the stock shape.
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_MIDPHASE


def stretch_geom(model: mujoco.MjModel, geom: int, own: np.ndarray, done: set[int]) -> None:
    """Stretches a geom by `own`, in its body's axes; `done` are the meshes stretched already."""
    flat = np.zeros(9)
    mujoco.mju_quat2Mat(flat, model.geom_quat[geom])
    turn = flat.reshape(3, 3)
    local = turn.T @ own @ turn
    along = np.abs(np.diag(local))
    kind = model.geom_type[geom]
    if kind == GEOM.mjGEOM_MESH:
        stretch_mesh(model, int(model.geom_dataid[geom]), local, done)
    elif kind in (GEOM.mjGEOM_CAPSULE, GEOM.mjGEOM_CYLINDER):
        model.geom_size[geom, :2] *= (np.sqrt(along[0] * along[1]), along[2])
    elif kind == GEOM.mjGEOM_SPHERE:
        model.geom_size[geom, 0] *= np.cbrt(along.prod())
    else:
        model.geom_size[geom] *= along
    model.geom_rbound[geom] *= along.max()
    model.geom_aabb[geom] *= along.max()


def stretch_mesh(model: mujoco.MjModel, mesh: int, local: np.ndarray, done: set[int]) -> None:
    """Stretches the points of a mesh, and its normals with them."""
    if mesh in done:
        return
    done.add(mesh)
    first, count = int(model.mesh_vertadr[mesh]), int(model.mesh_vertnum[mesh])
    model.mesh_vert[first : first + count] = model.mesh_vert[first : first + count] @ local.T
    first, count = int(model.mesh_normaladr[mesh]), int(model.mesh_normalnum[mesh])
    normals = model.mesh_normal[first : first + count] @ np.linalg.inv(local)
    model.mesh_normal[first : first + count] = normals / np.linalg.norm(
        normals, axis=1, keepdims=True
    )
