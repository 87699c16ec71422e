"""Give variables of the command line the type that their role says they have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.common.validation import (
    check_type_bool,
    check_type_dict,
    check_type_float,
    check_type_int,
    check_type_list,
)
from ansible.plugins.callback import CallbackBase
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.model import Option
from ansible_collections.edge_ai.cluster.plugins.module_utils.preflight.specs import load_options

DOCUMENTATION = """
name: typed_options
type: aggregate
short_description: C(-e name=value) has the type of its role's argument_specs
description:
  - Ansible makes a text of every value of C(-e name=value), so C("false") counts as true, and C("800") is no number.
    Before the first task each is converted as modules convert their options.
  - What cannot be converted stays a text, which the validation of the inventory refuses.
requirements: [enable in ansible.cfg]
"""

ROLES = Path(__file__).resolve().parents[2] / "roles"
CONVERT: dict[str, Callable[[str], Any]] = {
    "bool": check_type_bool,
    "int": check_type_int,
    "float": check_type_float,
    "list": lambda text: [item.strip() for item in check_type_list(text) if item.strip()],
    "dict": check_type_dict,
}
#: Types that have an empty value; of the others there is none, which the validation refuses.
EMPTY: dict[str, Callable[[], Any]] = {"list": list, "dict": dict}


def typed(variables: Mapping[str, Any], options: Mapping[str, Option]) -> dict[str, Any]:
    """Those of the variables that are texts and should not be, converted; templates are left as they are."""
    found: dict[str, Any] = {}
    for name, value in variables.items():
        option = options.get(name)
        convert = CONVERT.get(option.type) if option else None
        if option is None or convert is None or not isinstance(value, str) or "{{" in value or value.startswith("["):
            continue
        if not value:
            if option.may_be_empty and option.type in EMPTY:
                found[name] = EMPTY[option.type]()
            continue
        try:
            found[name] = convert(value)
        except (TypeError, ValueError):
            continue
    return found


class CallbackModule(CallbackBase):
    """Runs in the process that has the variables, before any task has them."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "typed_options"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """All plays share the variables: the first converts them, the others find only what stays a text."""
        variables = play.get_variable_manager().extra_vars
        if any(isinstance(value, str) for value in variables.values()):
            variables.update(typed(variables, load_options(ROLES)[0]))
