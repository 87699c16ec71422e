"""What is offered on the mirror, of one architecture or both."""

import hashlib
from dataclasses import replace

import pytest

from lab import mirror, release, settings

LAB = settings.parse((settings.PACKAGE / "lab.toml").read_text(), {}, cpus=2)


@pytest.fixture
def instance(tmp_path, monkeypatch):
    monkeypatch.setattr(settings.Settings, "mirror_root", property(lambda _: tmp_path / "mirror"))
    return replace(LAB)


def os_image(folder, arch):
    folder.mkdir()
    image = folder / f"2026-11-26-raspios-trixie-{arch}-lite.img.xz"
    image.write_text(arch)
    digest = hashlib.sha256(arch.encode()).hexdigest()
    image.with_name(f"{image.name}.sha256").write_text(f"{digest}  {image.name}\n")
    return folder


def offered(instance):
    root = instance.mirror_root
    return {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}


def test_os_images_of_both_architectures(instance, tmp_path):
    builds = [os_image(tmp_path / arch, arch) for arch in ("amd64", "arm64")]
    mirror.publish_os_images(instance, builds[:1])
    assert not [name for name in offered(instance) if "arm64" in name]
    mirror.publish_os_images(instance, builds)
    files = offered(instance)
    for arch, latest in (("amd64", "raspios_lite_latest"), ("arm64", "raspios_lite_arm64_latest")):
        folder = f"raspios/raspios_lite_{arch}/images/raspios_lite_{arch}-2026-11-26"
        assert files[f"{folder}/2026-11-26-raspios-trixie-{arch}-lite.img.xz"] == arch
        assert files[f"raspios/{latest}.img.xz"] == arch
        assert files[f"raspios/{latest}.img.xz.sha256"].split()[1] == f"{latest}.img.xz"
    assert len(files) == 8


def test_k3s_of_both_architectures_is_one_release(instance, tmp_path):
    builds = []
    for arch, binary in release.BINARY.items():
        builds.append(tmp_path / arch)
        builds[-1].mkdir()
        for name in (binary, f"k3s-airgap-images-{arch}.tar.zst", "k3s-images.txt"):
            (builds[-1] / name).write_text(name)
        mirror.write_sums(builds[-1], f"sha256sum-{arch}.txt")
    mirror.publish_k3s(instance, "v1", builds)
    names = {name.removeprefix("k3s/v1/") for name in offered(instance)}
    assert names == {
        "k3s", "k3s-arm64", "k3s-images.txt", "k3s-airgap-images-amd64.tar.zst", "k3s-airgap-images-arm64.tar.zst",
        "sha256sum-amd64.txt", "sha256sum-arm64.txt",
    }  # fmt: skip
    mirror.publish_k3s(instance, "v1", [])
    assert offered(instance) == {}


def test_release_for_arm64_is_of_the_same_sources_and_another_build():
    assert release.arm64_digest(LAB) != release.digest(LAB)
    assert release.arm64_digest(replace(LAB, k3s_version="v1.36.3+lab9")) != release.arm64_digest(LAB)
