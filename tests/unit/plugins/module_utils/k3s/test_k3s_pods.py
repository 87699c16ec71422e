"""Signs of pods that do not work."""

from __future__ import annotations

from ansible_collections.edge_ai.cluster.plugins.module_utils.k3s import pods


def test_a_bridge_of_another_network_is_found() -> None:
    assert pods.foreign_bridge(["10.42.1.1"], ["10.42.2.0/24"]) == ["10.42.1.1"]
    assert pods.foreign_bridge(["10.42.2.1", "fd42::1"], ["10.42.2.0/24", "fd42::/64"]) == []
    # Before the Node has a network, and without a bridge, nothing is wrong.
    assert pods.foreign_bridge(["10.42.1.1"], []) == []
    assert pods.foreign_bridge([], ["10.42.2.0/24"]) == []


def test_nfs_mounts_of_pods_are_found_and_no_others() -> None:
    pod = "/var/lib/kubelet/pods/1/volumes/kubernetes.io~nfs/nfs"
    lines = [
        f"36 35 0:50 / {pod} rw,noatime shared:1 - nfs4 10.0.0.1:/ rw,vers=4.2",
        "37 35 0:51 / /home/me/share rw shared:2 - nfs4 10.0.0.1:/ rw",
        "38 35 0:52 / /var/lib/kubelet/pods/1/volumes/kubernetes.io~empty-dir/tmp rw - tmpfs tmpfs rw",
        "39 35 0:53 / /proc/fs/nfsd rw - nfsd nfsd rw",
    ]
    assert pods.pods_nfs("\n".join(lines)) == [pod]
