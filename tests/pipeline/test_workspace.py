"""Folders of a search are made while another process makes them, and what cannot be written is told."""

import errno
import tempfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.errors import ConfigError
from pipeline.workspace import Workspace


def test_two_processes_may_begin_the_same_search_at_once(tmp_path):
    workspace = Workspace(tmp_path, "twice")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: workspace.make(), range(400)))
    assert [path.name for path in workspace.folder.iterdir()] == ["trials"]


def test_a_disk_that_takes_nothing_is_told_with_the_way_out(tmp_path, monkeypatch):
    def read_only(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", read_only)
    with pytest.raises(ConfigError, match=r"cannot be written to: Read-only file system.*--root"):
        Workspace(tmp_path, "here").make()


def test_a_file_in_the_way_of_a_folder_is_told(tmp_path):
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(ConfigError, match=r"cache cannot be made: a file is where a folder is due"):
        Workspace(tmp_path, "here").make()
