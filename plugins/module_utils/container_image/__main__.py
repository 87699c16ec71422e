"""Command line: `ref` and `build`. Progress goes to standard output, a last line is `RESULT {json}`."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from . import build
from .inputs import ImageError, Inputs, reference
from .progress import fail


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="container_image", description="build the image of docker/")
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--context", type=Path, required=True, help="directory with the Dockerfile")
    common.add_argument("--name", required=True, help="image reference without its tag")
    common.add_argument("--base", default="", help="base image; none: the Dockerfile's own")
    common.add_argument(
        "--source", choices=["registry", "mmdebstrap"], default="registry", help="where the base comes from"
    )
    common.add_argument("--suite", default="trixie", help="Debian release of a base by mmdebstrap")
    common.add_argument("--requirements", default="requirements", help="name of the locks that are installed")
    commands.add_parser("ref", parents=[common], help="print the reference of the image that is built from the files")
    builder = commands.add_parser("build", parents=[common], help="build the image's archive unless it is in the cache")
    builder.add_argument("--arch", action="append", required=True, choices=["amd64", "arm64"])
    builder.add_argument("--cache", type=Path, required=True, help="directory of archives, wheels and logs")
    builder.add_argument("--builder", choices=["auto", "buildah", "podman", "docker"], default="auto")
    builder.add_argument("--mirror", default="", help="Debian archive for mmdebstrap; none: that of /etc/apt")
    builder.add_argument(
        "--security-mirror", default="", help="Debian security archive for mmdebstrap; none: that of /etc/apt"
    )
    builder.add_argument("--compression-level", type=int, default=3)
    builder.add_argument("--timeout", type=float, default=3600, help="seconds for one command of the build")
    builder.add_argument("--reference", default="", help="expected reference of the image")
    return parser


def main() -> int:
    """Run the command line. Returns the exit code."""
    options = _parser().parse_args()
    try:
        inputs = Inputs(options.context, options.base, options.source, options.suite, options.requirements)
        if options.command == "ref":
            print(reference(inputs, options.name))
            return 0
        if options.reference and options.reference != reference(inputs, options.name):
            raise ImageError(
                f"container_image_ref is {options.reference}, but {options.context} "
                f"builds {reference(inputs, options.name)}: "
                "leave container_image_ref to the lookup, with the same base and name"
            )
        settings = build.Settings(
            options.cache,
            options.name,
            options.builder,
            (options.mirror, options.security_mirror),
            options.compression_level,
            options.timeout,
        )
        made = {arch: build.build(inputs, arch, settings) for arch in options.arch}
        result = {
            "built": [arch for arch, (_known, new) in made.items() if new],
            "archives": {arch: asdict(known) for arch, (known, _new) in made.items()},
        }
        print("RESULT " + json.dumps(result))
        return 0
    except ImageError as error:
        return fail(error)


if __name__ == "__main__":
    sys.exit(main())
