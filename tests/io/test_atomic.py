from __future__ import annotations

import hashlib

import pytest

from fusecast.io.atomic import compute_checksum, replace_file, write_bytes_atomically, write_text_atomically


def test_a_file_is_replaced_and_its_folder_created(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    write_text_atomically(path, "früher\n")
    write_bytes_atomically(path, b"later\n")
    assert path.read_bytes() == b"later\n"
    assert [file.name for file in path.parent.iterdir()] == ["file"]


def test_after_an_error_the_old_file_is_whole_and_no_other_is_left(tmp_path):
    path = tmp_path / "file"
    write_text_atomically(path, "old")

    def write_half() -> None:
        with replace_file(path) as temporary:
            temporary.write_text("half of the n")
            assert path.read_text() == "old"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_the_checksum_of_a_file_is_that_of_its_content(tmp_path):
    content = bytes(range(256)) * 5000
    write_bytes_atomically(tmp_path / "file", content)
    assert compute_checksum(tmp_path / "file") == compute_checksum(content) == hashlib.sha256(content).hexdigest()
