"""Generated secrets: private, stable, and never silently replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from raypipe.errors import RaypipeError
from raypipe.local.secrets import ensure_secret, private_directory


def test_a_secret_is_written_once_for_its_owner_only(tmp_path: Path):
    file = tmp_path / "secrets" / "key"
    secret = ensure_secret(file, length_bytes=24)
    assert len(secret) == 48
    assert ensure_secret(file) == secret
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert [f.name for f in file.parent.iterdir()] == ["key"]


def test_a_secret_whose_mode_was_widened_is_narrowed_again(tmp_path: Path):
    file = tmp_path / "key"
    ensure_secret(file)
    file.chmod(0o644)
    ensure_secret(file)
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_lost_secret_is_not_replaced_while_its_data_exists(tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    ensure_secret(tmp_path / "s" / "key", guards=data)
    (data / "volume").touch()
    assert ensure_secret(tmp_path / "s" / "key", guards=data)
    (tmp_path / "s" / "key").unlink()
    with pytest.raises(RaypipeError, match="is gone but the data it guards"):
        ensure_secret(tmp_path / "s" / "key", guards=data)


def test_a_link_is_not_taken_for_a_private_directory(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(RaypipeError, match="is a link"):
        private_directory(tmp_path / "link")
