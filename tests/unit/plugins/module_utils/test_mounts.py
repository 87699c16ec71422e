"""What is mounted, by the kernel's own text and by fstab."""

from ansible_collections.edge_ai.cluster.plugins.module_utils.mounts import Mount, mounts_of


def test_a_blank_in_the_name_of_a_mount_is_read() -> None:
    text = "10.0.0.1:/ /var/lib/kubelet/pods/a/my\\040data nfs4 rw,vers=4.2 0 0\n"
    assert mounts_of(text) == [Mount("10.0.0.1:/", "/var/lib/kubelet/pods/a/my data", "nfs4", ["rw", "vers=4.2"])]


def test_comments_empty_lines_and_missing_options_of_fstab() -> None:
    assert mounts_of("# nas:/a /a nfs\n\nnas:/b /b nfs # later\nbroken\n") == [Mount("nas:/b", "/b", "nfs", [""])]
    assert mounts_of("none /a#b tmpfs rw 0 0\n")[0].point == "/a#b"
