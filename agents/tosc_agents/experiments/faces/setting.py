"""What the experiments on faces are about, and the setting in which Shapes stand in for the faces."""

from __future__ import annotations

from dataclasses import replace

from tosc_agents.experiments.article import ATTRIBUTES
from tosc_env.data import usual_kwargs
from tosc_env.game import GameConfig

GENDER = "Male"
"""CelebA's name for the attribute that the article's figure 4 argues with."""

STAND_IN = (
    "Shapes stand in for the faces, as in ToSC-CelebA-v0 without its data: Mustache, Smiling, Wavy_Hair and Male are "
    "the names of nearly balanced facts about shapes (warm colour, patchy background, large, left), so the figures "
    "say that everything runs, and nothing about faces."
)


def face_setting(setting: GameConfig) -> tuple[GameConfig, str | None]:
    """The setting in which the experiments on faces are made, and what a reader must know of it.

    Args:
        setting: on a data set with the article's attributes, such as CelebA, which is handed back as it is; or on
            Shapes.

    Returns:
        The setting, and None; or the one in which Shapes stand in, and :data:`STAND_IN`: images of the size that
        ``ToSC-CelebA-v0`` has (unless ``setting`` names a size), with binary facts that carry the names of the
        task's attributes, and one named :data:`GENDER`. Handing it in again changes nothing. Facts go by their place,
        so a setting with binary attributes keeps those it has.

    Example:
        >>> stand_in, note = face_setting(GameConfig("shapes", {"num_images": 100}))
        >>> stand_in.source(split="test").attribute_names
        ('Mustache', 'Smiling', 'Wavy_Hair', 'Male')
        >>> face_setting(stand_in) == (stand_in, note), face_setting(GameConfig("celeba"))[1]
        (True, None)
    """
    if setting.data != "shapes":
        return setting, None
    options = {"size": usual_kwargs("celeba")["size"], **setting.data_kwargs}
    names = list(options.get("binary_attributes", ()))
    if names:
        options["binary_attributes"] = names if GENDER in names else [*names, GENDER]
        return replace(setting, data_kwargs=options), STAND_IN
    options["binary_attributes"] = [*ATTRIBUTES, GENDER]
    task = {"names": list(ATTRIBUTES)}
    return replace(setting, data_kwargs=options, task="attributes", task_kwargs=task), STAND_IN
