"""The images of an environment: those of its data set, or embedded ones that stand in for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from tosc_env.data import data_set, make_source, usual_attributes
from tosc_env.data.base import Source
from tosc_env.errors import warn_user
from tosc_env.game import Game, GameConfig
from tosc_env.options import check_hint, check_options


def with_task(
    config: GameConfig, attributes: Any, source: Source | None
) -> tuple[GameConfig, tuple[str, ...]]:
    """The config with the task that is meant, and the attributes that it is about."""
    if attributes is not None:
        check_hint(attributes, str | Sequence[str], "attributes")
        names = (attributes,) if isinstance(attributes, str) else tuple(attributes)
        return replace(config, task="attributes", task_kwargs={"names": list(names)}), names
    names = usual_attributes(config.data)
    if config.task != "attributes" or not names or config.task_kwargs != {"names": list(names)}:
        return config, ()
    if source is not None:  # images of the caller's own lack the data set's attributes
        return replace(config, task="classification", task_kwargs=None), ()
    return config, names


def find_source(
    config: GameConfig, data: str, split: str, half: str, names: tuple[str, ...]
) -> tuple[Source, bool]:
    """Load the images; also whether they stand in for the config's, as they do only where ``data`` is ``"auto"``."""
    wanted = data_set(config.data if data == "auto" else data)
    options = {**wanted.usual_kwargs, **config.data_kwargs}
    check_options(wanted.load, wanted.name, options, given=1)
    if names and "attributes" in wanted.options():
        options = {"attributes": list(names), **options}
    part: dict[str, Any] = {"split": split, "half": half if split == "train" else None}
    if data != "auto" or wanted.stand_in is None or wanted.is_available():
        return make_source(wanted.name, **part, **options), False
    embedded, taken_over = wanted.stand_in
    warn_user(
        f"{wanted.name} was not found under the data root, so embedded {embedded} images stand in for it (same "
        f"spaces, other images; info['stand_in'] is 1): for the real data run 'tosc data get {wanted.name}' or set "
        "TOSC_DATA_DIR."
    )
    same = {name: options[option] for name, option in taken_over.items() if option in options}
    return make_source(embedded, **part, **same), True


def game_of(data_id: str, **options: Any) -> Game:
    """The game behind an environment's id (:func:`tosc_env.registration.data_of`), on test images or a stand-in's."""
    rules = {f.name for f in fields(GameConfig)} - {"data"}
    config = GameConfig(data_id, **{name: value for name, value in options.items() if name in rules})
    config, names = with_task(config, options.get("attributes"), None)
    source, _ = find_source(config, options.get("data", "auto"), "test", "system", names)
    return Game(source, config)
