from __future__ import annotations

import pytest

from fusecast.errors.artifact import ArtifactError, translate_os_errors


def test_an_error_of_the_system_that_names_a_file_becomes_an_error_with_a_hint(tmp_path):
    with pytest.raises(ArtifactError, match=r"absent: No such file or directory\nHint: check"), translate_os_errors():
        (tmp_path / "absent").read_bytes()


def test_other_errors_of_the_system_are_left_alone():
    with pytest.raises(OSError, match="no file"), translate_os_errors():
        raise OSError("no file")
