"""Keys, encryption and signatures of backups."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.edge_ai.cluster.plugins.module_utils.backup import archive, generations, seal

from tests.support.backups import SECRET, Faults, Owner


def test_nothing_of_a_backup_can_be_read_without_the_key(
    backup: Path, owner: Owner, tmp_path: Path, node_parts: dict[str, Path]
) -> None:
    texts = [path.read_bytes() for path in backup.iterdir()]
    for secret in (SECRET, "login key", "AGE-SECRET-KEY", "OPENSSH PRIVATE"):
        assert not any(secret.encode() in text for text in texts)
    assert {path.stat().st_mode & 0o777 for path in backup.glob("*.age")} == {0o600}
    # The control node cannot either: it has whom to encrypt for.
    names = {path.name for path in node_parts["secrets"].iterdir()}
    assert {seal.RECIPIENT, seal.SIGNER, f"{seal.SIGNER}.pub"} < names
    assert not any(b"AGE-SECRET-KEY" in path.read_bytes() for path in owner.secrets.iterdir())
    other = Owner(tmp_path / "other")
    assert "no identity matched" in archive.inside(backup / archive.DATA, other.key).faults[0]


def test_a_backup_of_another_owner_a_changed_one_and_an_unsigned_one_are_refused_each_by_name(
    backup: Path, owner: Owner, tmp_path: Path, faults: Faults
) -> None:
    # An attacker who knows the recipient, which is no secret, puts a backup of their own in its place.
    content = (backup / generations.MANIFEST).read_bytes()
    other = Owner(tmp_path / "other")
    other.sign(backup)
    assert "it was signed with another key" in faults(backup)[0]
    owner.sign(backup)
    assert faults(backup) == []
    (backup / generations.MANIFEST).write_bytes(content.replace(b"pi-01", b"pi-02"))
    assert "was changed after it was signed" in faults(backup)[0]
    (backup / generations.MANIFEST).write_bytes(content)
    (backup / generations.SIGNATURE).write_text("none")
    assert "was changed after it was signed, or its signature was" in faults(backup)[0]
    (backup / generations.SIGNATURE).unlink()
    assert "manifest.json.sig is missing" in faults(backup)[0]


def test_a_signature_for_another_purpose_is_none(backup: Path, owner: Owner, faults: Faults) -> None:
    content = (backup / generations.MANIFEST).read_bytes()
    command = ["ssh-keygen", "-Y", "sign", "-n", "file", "-f", str(owner.secrets / seal.SIGNER)]
    done = subprocess.run(command, input=content, capture_output=True, check=True)
    (backup / generations.SIGNATURE).write_bytes(done.stdout)
    assert "was changed after it was signed, or its signature was" in faults(backup)[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        ("", "is not a key of backups"),
        ("AGE-SECRET-KEY-1X\n", "is not a key of backups"),
        ("# signer: AAAA\n", "is not a key of backups"),
        ("age-encryption.org/v1\n-> scrypt x 18\n", "is encrypted with a passphrase"),
        ("-----BEGIN AGE ENCRYPTED FILE-----\n", "is encrypted with a passphrase"),
    ],
)
def test_a_key_that_is_missing_or_not_whole_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "key").write_text(text)
    with pytest.raises(seal.BackupError, match=words):
        seal.read_key(str(tmp_path / "key"))
    with pytest.raises(seal.BackupError, match="write -e cluster_backup_identity=PATH"):
        seal.read_key("")
