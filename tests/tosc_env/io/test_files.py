"""A file is written whole or not at all, whatever goes wrong."""

from __future__ import annotations

import errno
import os
import stat
import time

import pytest
from refusals import refused

from tosc_env.errors import InputError
from tosc_env.io.files import (
    LEFTOVER_AGE,
    WriteError,
    remove_leftovers,
    replacing,
    replacing_all,
)


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    return path


def intact(target) -> bool:
    """The old file stands alone in its folder."""
    return target.read_text() == "old" and [p.name for p in target.parent.iterdir()] == [target.name]


def write(target, text="new") -> None:
    with replacing(target) as part:
        part.write_text(text)


def test_the_new_file_replaces_the_old_and_no_part_is_left(target):
    with replacing(target) as part:
        part.write_text("new")
        assert target.read_text() == "old" and part.parent == target.parent
    assert target.read_text() == "new" and [p.name for p in target.parent.iterdir()] == [target.name]


def test_the_file_has_the_permissions_of_any_other_new_file(tmp_path):
    """Temporary files are private; results are not."""
    write(tmp_path / "a" / "b" / "a.txt")  # missing folders are made
    (tmp_path / "b.txt").write_text("plain")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a/b/a.txt", "b.txt")}
    assert len(modes) == 1


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_a_write_error_and_leaves_the_old_file(target, monkeypatch, call):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with refused("result.json No space left", WriteError):
        write(target)
    with refused("No space left", WriteError), replacing(target) as part:
        part.write_text("half")
        full()
    assert intact(target)


def test_what_is_in_the_files_or_a_folders_place_is_a_write_error(target, tmp_path):
    with refused("below.txt", WriteError):
        write(target / "below.txt")
    assert intact(target)
    (tmp_path / "taken").mkdir()
    with refused("taken", WriteError):
        write(tmp_path / "taken")
    assert sorted(p.name for p in tmp_path.iterdir()) == [target.name, "taken"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ZeroDivisionError, InputError])
def test_whatever_stops_the_block_leaves_the_old_file_and_comes_through(target, stop):
    with pytest.raises(stop), replacing(target) as part:
        part.write_text("half")
        raise stop("now")
    assert intact(target)


def test_a_folder_that_refuses_new_files_is_a_write_error(target, monkeypatch):
    """The same as a read-only folder, also when the tests run as root."""
    import tempfile

    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    with refused("Permission", WriteError):
        write(target)
    assert intact(target)


def test_a_writer_that_replaces_the_part_itself_is_fine(target):
    """Some libraries write to a name of their own and rename."""
    with replacing(target) as part:
        other = part.with_suffix(".other")
        other.write_text("new")
        os.replace(other, part)
    assert target.read_text() == "new"


# -- several files, and what a killed process leaves --------------------------------------------------


def test_files_that_belong_together_are_all_on_the_disk_before_the_first_name_changes(target, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, real=real: (calls.append(name), real(*a))[1])
    beside = target.with_name("card")
    with replacing_all(target, beside) as parts:
        for part in parts:
            part.write_text("new")
    assert calls == ["fsync", "fsync", "replace", "replace"]
    assert target.read_text() == beside.read_text() == "new"


def test_of_files_that_belong_together_none_is_replaced_if_one_cannot_be(target):
    (target.parent / "taken").mkdir()
    with refused("write directory", WriteError), replacing_all(target, target.with_name("taken")) as parts:
        for part in parts:
            part.write_text("new")
    assert target.read_text() == "old" and {p.name for p in target.parent.iterdir()} == {target.name, "taken"}


def test_folders_that_a_killed_process_left_are_removed_a_day_later_and_nothing_else(target):
    left, young = (target.with_name(f".unpacked.{name}.part") for name in ("abcdefgh", "hgfedcba"))
    others = [target.with_name(name) for name in (".my notes.ABCDEFGH.part", "folder.part", ".x")]
    for folder in (left, young, *others):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "file").write_text("half")
    outside = target.with_name("outside")
    outside.mkdir()
    (left / "link").symlink_to(outside)
    long_ago = time.time() - LEFTOVER_AGE - 60
    for folder in (left, *others):
        os.utime(folder, (long_ago, long_ago))
    remove_leftovers(target.parent)
    assert set(target.parent.iterdir()) == {target, young, *others, outside}


def test_what_a_killed_process_left_is_removed_a_day_later_and_nothing_else(target):
    old, young = target.with_name(".result.json.abcdefgh.part"), target.with_name(".card.json.hgfedcba.part")
    others = [target.with_name(name) for name in ("big.zip.part", ".hidden", ".x.part")]
    long_ago = time.time() - LEFTOVER_AGE - 60
    for path in (old, young, *others):
        path.write_text("half")
    for path in (old, *others):
        os.utime(path, (long_ago, long_ago))
    write(target)
    assert set(target.parent.iterdir()) == {target, young, *others}
