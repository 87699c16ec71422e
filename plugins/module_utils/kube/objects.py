"""Objects of the API as JSON: for filters, and where a class for each kind is not needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ansible_collections.edge_ai.cluster.plugins.module_utils.kube.api import REQUEST
from kubernetes import client
from urllib3 import Timeout
from urllib3.exceptions import HTTPError

#: Names are enough where only they are compared: Secrets stay in the API.
METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


def base(version: str) -> str:
    """Where the resources of an API version are."""
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


class Objects:
    """Reads from an API, with the limits of `connected`."""

    def __init__(self, api: client.ApiClient) -> None:
        self.host, self.pool = api.configuration.host, api.rest_client.pool_manager
        # For a kubeconfig with a token; a certificate is the pool's.
        self.headers = {each["key"]: each["value"] for each in api.configuration.auth_settings().values()}

    def get(self, path: str, accept: str = "application/json") -> dict[str, Any] | None:
        """The answer as JSON; None for what is not there. Asks once, also a server that says nothing.

        Raises HTTPError.
        """
        connect, read = REQUEST
        headers = {**self.headers, "Accept": accept}
        answer = self.pool.request(
            "GET", f"{self.host}{path}", headers=headers, retries=False, timeout=Timeout(connect, read)
        )
        if answer.status == 404:
            return None
        try:
            found = json.loads(answer.data)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise HTTPError(f"an answer with status {answer.status}, and without an object in JSON")
        if answer.status != 200:
            raise HTTPError(f"{answer.status} {found.get('message', '')}")
        return found

    def items(self, path: str, accept: str = "application/json") -> list[dict[str, Any]]:
        """The objects of a list, with version and kind, which the API says of the list alone. Raises HTTPError."""
        found = self.get(path, accept) or {}
        items = found.get("items") or []
        if not isinstance(items, list) or not all(isinstance(each, dict) for each in items):
            raise HTTPError("an answer without a list of objects")
        of = {"apiVersion": found.get("apiVersion"), "kind": str(found.get("kind", "")).removesuffix("List")}
        return [of | each for each in items]

    def names(self, wanted: Sequence[Sequence[str]]) -> dict[tuple[str, str, str], set[str]]:
        """The names that there are, for each (apiVersion, kind, namespace) of `wanted`."""
        paths: dict[tuple[str, str], str] = {}
        for version in {each[0] for each in wanted}:
            for resource in (self.get(base(version)) or {}).get("resources") or []:
                if "/" not in resource["name"]:
                    paths[version, resource["kind"]] = f"{base(version)}/{{}}{resource['name']}"
        found = {}
        for version, kind, namespace in {(each[0], each[1], each[2]) for each in wanted}:
            # A kind that is gone has no objects.
            if path := paths.get((version, kind)):
                listed = self.items(path.format(f"namespaces/{namespace}/" if namespace else ""), METADATA)
                found[version, kind, namespace] = {each["metadata"]["name"] for each in listed}
        return found
