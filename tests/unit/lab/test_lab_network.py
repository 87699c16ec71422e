from pathlib import Path

from lab import gateway, network, settings

TEXT = (settings.PACKAGE / "lab.toml").read_text()
FIRST = settings.parse(TEXT, {}, cpus=2)
SECOND = settings.parse(TEXT, {"EDGE_LAB_NAME": "second01", "EDGE_LAB_SUBNET": "10.78.0"}, cpus=2)


def test_interface_names_fit_linux_and_the_longest_board_name():
    longest = settings.Board("a" * 12, "", "", "c03115", "1G", 0)
    for name in (network.host_end(SECOND), network.switch_end(longest), network.board_end(longest)):
        assert len(name) <= 15


def test_everything_on_this_machine_s_side_is_named_for_the_instance():
    assert network.host_end(FIRST) != network.host_end(SECOND)
    assert not {chain for _, _, chain, _ in network.firewall(FIRST)} & {
        chain for _, _, chain, _ in network.firewall(SECOND)
    }


def test_every_board_has_a_cable_with_offloads_off_at_both_ends():
    commands = [" ".join(command) for command in network.cable_commands(FIRST)]
    for board in FIRST.boards:
        near, far = network.switch_end(board), network.board_end(board)
        if board.arch == "arm64":
            made, ends = f"tuntap add dev {near} mode tap", [near]
        else:
            made, ends = f"link add {near} type veth peer name {far}", [near, far]
        assert any(made in command for command in commands)
        assert any(f"link set {near} master br0" in command for command in commands)
        for end in ends:
            (ethtool,) = [command for command in commands if f"ethtool -K {end} " in command]
            assert all(f"{offload} off" in ethtool for offload in ("tso", "gso", "gro", "tx", "rx", "sg"))
            assert any(command.endswith(f"link set {end} up") for command in commands)


def test_nothing_but_the_gateway_touches_this_machine_s_namespace():
    for command in network.cable_commands(FIRST):
        inside = command[:3] == ["ip", "-n", FIRST.namespace] or command[0] == "nsenter"
        assert inside or command[:3] == ["ip", "netns", "add"] or network.host_end(FIRST) in command


def test_rules_stand_in_chains_of_their_own():
    rules = [command for command in network.firewall_commands(FIRST) if "-N" not in command]
    for command in rules:
        where = command[command.index("-A" if "-A" in command else "-I") + 1]
        assert where.startswith("EDGE-LAB") or command[-2:-1] == ["-j"]
    assert any("MASQUERADE" in command and "10.77.0.0/24" in command for command in rules)
    assert any("--clamp-mss-to-pmtu" in command for command in rules)


def test_paths_of_the_instance():
    assert FIRST.run == Path("/run/edge-lab/lab")
    assert FIRST.card(FIRST.board("pi-01")) == settings.ROOT / ".lab/cards/pi-01.img"


def rules(builtin):
    (found,) = [rules for table, chain, _, rules in network.firewall(FIRST) if (table, chain) == ("filter", builtin)]
    return [" ".join(rule) for rule in found]


def test_boards_reach_names_time_and_mirror_of_the_gateway_and_nothing_else_of_this_machine():
    first, *accepted, last = rules("INPUT")
    assert "ESTABLISHED,RELATED" in first
    assert last == "-i edge-lab -j REJECT"
    opened = {rule.removeprefix("-i edge-lab -d 10.77.0.1 -p ").removesuffix(" -j ACCEPT") for rule in accepted}
    assert opened == {
        "udp --dport 53",
        "tcp --dport 53",
        "udp --dport 123",
        "tcp --dport 8077",
        "icmp --icmp-type echo-request",
    }


def test_boards_get_out_and_only_replies_get_in():
    assert rules("FORWARD") == [
        "-i edge-lab -o edge-+ -j REJECT",
        "-i edge-lab -s 10.77.0.0/24 -j ACCEPT",
        "-i edge-lab -j DROP",
        "-o edge-lab -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        "-o edge-lab -j REJECT",
    ]
    assert network.host_end(SECOND).startswith("edge-")


def test_names_are_not_looked_up_as_root():
    assert "--user=nobody" in gateway.dns_command(FIRST)
