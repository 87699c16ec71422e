"""Encryption of backups with age for their owner, and signatures of their manifests with ssh-keygen.

age alone does not say who encrypted. So what the owner keeps, the key file, has the secret that decrypts and the
public half of the key that the control node signs with; the control node has the other two halves. No secret is ever
an argument.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

#: In cluster_secrets_dir: whom backups are encrypted for, and what signs them (its public half ends with .pub).
RECIPIENT, SIGNER = "backup-recipient", "backup-signer"
#: What the signature is good for; one made for anything else is refused.
NAMESPACE = "edge-ai-cluster-backup"
SECONDS = 60
#: The longest key file that is read (bytes).
LONGEST = 1 << 16
#: How one begins that age has encrypted.
_ENCRYPTED = re.compile(r"age-encryption\.org/|-----BEGIN AGE ENCRYPTED FILE")
_RECIPIENT = re.compile(r"age1[0-9a-z]{58}")
_SIGNER = re.compile(r"^\s*# signer: ([A-Za-z0-9+/=]+)\s*$", re.MULTILINE)
_KIND = "ssh-ed25519"


class BackupError(Exception):
    """What is wrong with a backup, for the operator."""


@dataclass(frozen=True)
class Key:
    """The owner's key file."""

    path: Path
    signer: str
    """Public key of what signs."""


def program(name: str, package: str, purpose: str) -> str:
    """Path of a program. Raises BackupError for one that is not installed."""
    if not (found := shutil.which(name)):
        raise BackupError(
            f"{name}: not installed on the control node, but needed to {purpose}; install the Debian package {package}"
        )
    return found


def age() -> str:
    """Path of age. Raises BackupError."""
    return program("age", "age", "encrypt and decrypt backups")


def read_key(path: str) -> Key:
    """The owner's key file. Raises BackupError for one that is missing or not whole."""
    if not path:
        raise BackupError(
            "cluster_backup_identity is missing: write -e cluster_backup_identity=PATH, the file with the key that "
            "playbooks/backup.yml gave you when it made the first backup"
        )
    file = Path(path).expanduser()
    try:
        text = file.read_bytes()[:LONGEST].decode(errors="replace")
    except OSError as error:
        raise BackupError(f"cluster_backup_identity: {file} cannot be read ({error.strerror})") from None
    if _ENCRYPTED.match(text):
        raise BackupError(
            f"cluster_backup_identity: {file} is encrypted with a passphrase, which no playbook asks for: "
            "decrypt it first (age --decrypt --output KEY), and delete the decrypted file afterwards"
        )
    signer = _SIGNER.search(text)
    if not signer or "AGE-SECRET-KEY-1" not in text:
        raise BackupError(
            f"cluster_backup_identity: {file} is not a key of backups, or not all of it: it has a line that begins "
            "with AGE-SECRET-KEY-1 and one that begins with '# signer:'"
        )
    return Key(file, f"{_KIND} {signer.group(1)}")


def recipient_of(secrets: Path) -> str:
    """Whom backups are encrypted for. Raises BackupError."""
    path = secrets / RECIPIENT
    text = path.read_text().strip() if path.is_file() else ""
    if not _RECIPIENT.fullmatch(text):
        raise BackupError(f"{path} is not a public key of age: move it away, and the next backup makes a new key")
    return text


def has_key(secrets: Path) -> bool:
    """Whether the control node has what it needs to make backups for an owner."""
    return all((secrets / name).is_file() for name in (RECIPIENT, SIGNER, f"{SIGNER}.pub"))


def new_key(cluster_name: str, signer: Path) -> tuple[str, str]:
    """A new key: the text that the owner keeps, and the recipient. What signs is written to `signer`.

    Raises BackupError.
    """
    keygen = program("age-keygen", "age", "encrypt backups")
    made = _run([keygen])
    secret = re.search(r"^AGE-SECRET-KEY-1\S+$", made, re.MULTILINE)
    recipient = _RECIPIENT.search(made)
    if not secret or not recipient:
        raise BackupError(f"{keygen} made no key")
    for old in (signer, Path(f"{signer}.pub")):
        old.unlink(missing_ok=True)
    comment = f"backups of {cluster_name}"
    _run(["ssh-keygen", "-q", "-t", _KIND.removeprefix("ssh-"), "-N", "", "-C", comment, "-f", str(signer)])
    # None is longer than a line of a terminal, from which it may be copied.
    lines = (
        f"# Backups of {cluster_name}, {time.strftime('%Y-%m-%d', time.gmtime())}: keep all four lines elsewhere",
        f"# public key: {recipient.group()}",
        f"# signer: {Path(f'{signer}.pub').read_text().split()[1]}",
        secret.group(),
    )
    return "\n".join(lines) + "\n", recipient.group()


def sign(content: bytes, signer: Path) -> bytes:
    """A signature. Raises BackupError."""
    return _run(["ssh-keygen", "-q", "-Y", "sign", "-f", str(signer), "-n", NAMESPACE], content).encode()


def verify(content: bytes, signature: Path, key: Key) -> None:
    """Raises BackupError for content that was changed, or that was signed with another key."""
    what = ["-n", NAMESPACE, "-s", str(signature)]
    with tempfile.TemporaryDirectory() as folder:
        allowed = Path(folder) / "allowed_signers"
        allowed.write_text(f'backup namespaces="{NAMESPACE}" {key.signer}\n')
        with suppress(BackupError):
            _run(["ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", "backup", *what], content)
            return
    try:
        _run(["ssh-keygen", "-Y", "check-novalidate", *what], content)
    except BackupError:
        raise BackupError(
            "its manifest.json was changed after it was signed, or its signature was: use another copy"
        ) from None
    raise BackupError(
        f"it was signed with another key than that of {key.path}: it is a backup of another owner, or of before or "
        "after a change of the key"
    )


@contextmanager
def encrypting(path: Path, recipient: str) -> Iterator[IO[bytes]]:
    """What is written goes to a new file (0600) that only the owner can read. Raises BackupError."""
    path.touch(mode=0o600)
    with (
        path.open("wb") as output,
        _age(["--encrypt", "--recipient", recipient], path, subprocess.PIPE, output) as process,
    ):
        assert process.stdin
        with suppress(BrokenPipeError):  # age has ended; its status says why
            yield process.stdin
            process.stdin.close()


@contextmanager
def decrypting(path: Path, key: Key) -> Iterator[IO[bytes]]:
    """The content of a file, for reading. Raises BackupError at the end when that was not all, or not authentic."""
    with (
        path.open("rb") as source,
        _age(["--decrypt", "--identity", str(key.path)], path, source, subprocess.PIPE) as process,
    ):
        assert process.stdout
        yield process.stdout
        # What follows an archive is verified as well.
        while process.stdout.read(1 << 20):
            pass


@contextmanager
def _age(
    arguments: Sequence[str], path: Path, source: IO[bytes] | int, target: IO[bytes] | int
) -> Iterator[subprocess.Popen[bytes]]:
    """A running age, which must end well. Killed when an exception leaves the context."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen([age(), *arguments], stdin=source, stdout=target, stderr=errors)
        try:
            yield process
            process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    with suppress(BrokenPipeError):
                        pipe.close()
        if process.returncode:
            errors.seek(0)
            first = (errors.read().decode(errors="replace").strip().splitlines() or ["no message"])[0]
            raise BackupError(f"{path.name}: {arguments[0].strip('-')}: {first}")


def _run(argv: list[str], content: bytes = b"") -> str:
    """Standard output of a program. Raises BackupError."""
    done = subprocess.run(argv, input=content, capture_output=True, timeout=SECONDS, check=False)
    if done.returncode:
        raise BackupError(f"{argv[0]}: {done.stderr.decode(errors='replace').strip()[-300:]}")
    return done.stdout.decode()
