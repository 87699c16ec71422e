"""Values as Ansible has them: with tags, encrypted, or with templates in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible.parsing.vault import EncryptedString


def plain(value: Any) -> Any:
    """A value of plain Python, decrypted: to_yaml writes a text that was encrypted as the ciphertext, json none."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    # Tagged values are of subclasses; these calls make plain ones, and decrypt.
    if isinstance(value, str | EncryptedString):
        return "".join((str(value),))
    if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool)):
        return value + 0
    return value


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping | list | tuple):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _leaves(each)
    else:
        yield value


def has_template(value: Any) -> bool:
    """Whether a template is anywhere in a value."""
    return any(isinstance(each, str) and ("{{" in each or "{%" in each) for each in _leaves(value))


def is_encrypted(value: Any) -> bool:
    """Whether anything in a value is encrypted."""
    return any(isinstance(each, EncryptedString) for each in _leaves(value))
