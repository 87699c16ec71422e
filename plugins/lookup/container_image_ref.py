"""Lookup: the reference of the image of docker/, without building it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.edge_ai.cluster.plugins.module_utils.container_image import inputs

DOCUMENTATION = """
name: container_image_ref
short_description: reference of the image of a build context
description:
  - The tag is the prefix of a digest over the files of the build context that the build can see, and the base image.
  - It is available before the image is built, the same on every machine, and changes with every file.
options:
  _terms: {description: The build context, a directory., required: true}
  name: {description: Reference without tag., type: str, default: localhost/edge-ai/tensorflow-jupyter}
  base: {description: Base image; empty for the Dockerfile's own., type: str, default: ""}
  source: {description: Where the base comes from., type: str, choices: [registry, mmdebstrap], default: registry}
  requirements: {description: Name of the locks that are installed., type: str, default: requirements}
  suite: {description: Debian release of a base by mmdebstrap., type: str, default: trixie}
"""

EXAMPLES = """
container_image_ref: "{{ lookup('edge_ai.cluster.container_image_ref', 'docker', source='mmdebstrap') }}"
"""

RETURN = """
_list: {description: One reference., type: list, elements: str}
"""


class LookupModule(LookupBase):
    """See DOCUMENTATION."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """One reference. Raises AnsibleLookupError when the directory is not a build context."""
        self.set_options(var_options=variables, direct=kwargs)
        option = {key: str(self.get_option(key)) for key in ("name", "base", "source", "suite", "requirements")}
        try:
            name = option.pop("name")
            return [inputs.reference(inputs.Inputs(Path(terms[0]), **option), name)]
        except inputs.ImageError as error:
            raise AnsibleLookupError(str(error)) from error
