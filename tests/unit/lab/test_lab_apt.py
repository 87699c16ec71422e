import pytest

from lab import apt
from lab.errors import LabError

DEB822 = """\
Types: deb
# as of 20250520T000000Z
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
"""


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({"debian.sources": DEB822}, "http://mirror.example/debian"),
        ({"sources.list": "deb http://one.example/debian/ bookworm main\n"}, "http://one.example/debian"),
        (
            {"sources.list": "deb [arch=amd64 trusted=yes] http://one.example/debian bookworm main"},
            "http://one.example/debian",
        ),
        (
            {"sources.list": "#deb http://no.example/debian bookworm main\n", "debian.sources": DEB822},
            "http://mirror.example/debian",
        ),
        (
            {"a.list": "deb http://old.example/debian bullseye main", "debian.sources": DEB822},
            "http://mirror.example/debian",
        ),
        (
            {"x.sources": "Enabled: no\n" + DEB822.split("\n\n")[0], "y.list": "deb http://z.example/debian sid main"},
            "http://z.example/debian",
        ),
        (
            {"a.sources": "Types: deb deb-src\nURIs:\n http://folded.example/debian\nSuites: bookworm\n"},
            "http://folded.example/debian",
        ),
        ({"a.list": "deb http://nas.example/mirrors/bookworm bookworm main"}, "http://nas.example/mirrors/bookworm"),
    ],
)
def test_the_mirror_of_this_machine_is_found(sources, expected):
    assert apt.find_mirror(sources, "bookworm") == expected


@pytest.mark.parametrize(
    "sources",
    [
        {},
        {"a.list": "deb http://other.example/repository stable main"},
        {"a.list": "deb http://mirror.example/debian-security bookworm-security main"},
        {"a.list": "deb-src http://mirror.example/debian bookworm main"},
    ],
)
def test_no_mirror_is_an_error_that_names_the_files_read(sources):
    with pytest.raises(LabError, match=r"no Debian mirror found in /etc/apt"):
        apt.find_mirror(sources, "bookworm")


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({"debian.sources": DEB822}, "http://mirror.example/debian-security"),
        (
            {
                "a.list": "deb http://one.example/debian trixie main\n",
                "b.list": "deb http://one.example/sec/ trixie-security main\n",
            },
            "http://one.example/sec",
        ),
        (
            {"old.list": "deb http://old.example/debian-security buster/updates main"},
            "http://old.example/debian-security",
        ),
    ],
)
def test_the_security_archive_of_this_machine_is_found(sources, expected):
    assert apt.find_security_mirror(sources) == expected


@pytest.mark.parametrize(
    "sources",
    [
        {},
        {"a.list": "deb http://mirror.example/debian bookworm main"},
        {"a.list": "#deb http://mirror.example/debian-security bookworm-security main"},
        {"a.sources": "Enabled: no\n" + DEB822.split("\n\n")[1]},
    ],
)
def test_no_security_archive_is_an_error_with_what_to_add(sources):
    with pytest.raises(LabError, match=r"no Debian security archive found in /etc/apt.*add one, such as"):
        apt.find_security_mirror(sources)


def test_settings_about_old_lists_are_taken_over():
    dump = (
        'APT::Architecture "amd64";\nAcquire::Check-Valid-Until "false";\nAcquire::Check-Date "0";\n'
        'Acquire::http::Proxy "http://p.example";\nAcquire::Check-Valid-Until-Not "1";\n'
    )
    assert apt.validity_options(dump) == ['Acquire::Check-Valid-Until "false"', 'Acquire::Check-Date "0"']
    assert apt.validity_options('APT::Architecture "amd64";\n') == []


def test_codename():
    assert apt.host_codename("ID=debian\nVERSION_CODENAME=trixie\n") == "trixie"
    assert apt.host_codename("ID=other\n") == ""
