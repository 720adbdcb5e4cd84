"""The federation's file: what can be in it, and each mistake told by place and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from federant.link.kit import load_kit
from federant.provision import Plan, ProvisionError, carry_out, load_plan
from federant.provision.yaml_file import MAX_BYTES

WHOLE = """\
name: hospitals
server:
  host: fed.example.org
  port: 443
  hosts: [10.0.0.7, "2001:db8::7"]
sites:
  - site-1
  - name: site-2
    hosts: [gate.site-2.example]
operators: [alice]
agents:
  - {name: gpu-7, site: site-1, job: job-7}
days: 90
"""
HEAD = "name: f\nserver: {host: h}\n"


def read(folder: Path, text: str | bytes) -> Plan:
    file = folder / "federation.yml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_plan(file)


def refusal(folder: Path, text: str | bytes) -> str:
    with pytest.raises(ProvisionError) as caught:
        read(folder, text)
    assert str(caught.value).startswith(str(folder / "federation.yml"))
    return str(caught.value).replace(f"{folder / 'federation.yml'}", "FILE")


def test_a_whole_file_says_who_takes_part(tmp_path: Path) -> None:
    plan = read(tmp_path, WHOLE)
    assert plan.settings.server == "https://fed.example.org:443"
    assert plan.settings.days == 90
    assert {str(party.place): party.hosts for party in plan.parties()} == {
        "server": ("fed.example.org", "10.0.0.7", "2001:db8::7"),
        "sites/site-1": (),
        "sites/site-2": ("gate.site-2.example",),
        "operators/alice": (),
        "agents/site-1.job-7.gpu-7": (),
    }


def test_an_agent_s_kit_says_what_it_dials(tmp_path: Path) -> None:
    agents = "[{name: g, site: a, relay: 'https://Gate.Example:8760'}, {name: h, site: a}]"
    plan = read(tmp_path, HEAD + f"sites: [a]\nagents: {agents}")
    made = {party.identity.name: party.folder for party in carry_out(plan, tmp_path / "kits")}
    assert load_kit(made["g"]).relay == "https://gate.example:8760"
    assert load_kit(made["h"]).relay == ""


@pytest.mark.parametrize(
    "relay",
    [
        *("http://h:1", "h:1", "https://h", "https://h:0", "https://h:65536", "https://h:1/x"),
        *("https://u@h:1", "https://h:1#x", "", "https://10.0.0.300:1", 'https://h"x:1'),
    ],
)
def test_what_is_no_relay_s_address_is_refused(tmp_path: Path, relay: str) -> None:
    agents = f"[{{name: g, site: a, relay: '{relay}'}}]"
    told = refusal(tmp_path, HEAD + f"sites: [a]\nagents: {agents}")
    assert "agents.0.relay: " in told
    assert "is no address of a relay; give https://, a host, and the port that [relay]" in told


def test_name_and_server_are_enough(tmp_path: Path) -> None:
    plan = read(tmp_path, "name: f\nserver: {host: '::1'}\n")
    assert plan.settings.server == "https://[::1]:8750"
    assert [str(party.place) for party in plan.parties()] == ["server"]


def test_carried_out_again_with_more_sites_it_makes_those_only(tmp_path: Path) -> None:
    first = carry_out(read(tmp_path, HEAD + "sites: [a]"), tmp_path / "kits")
    again = carry_out(read(tmp_path, HEAD + "sites: [b, a]"), tmp_path / "kits")
    assert [(each.folder.name, each.made) for each in first] == [("server", True), ("a", True)]
    assert [(each.folder.name, each.made) for each in again] == [
        ("server", False),
        ("b", True),
        ("a", False),
    ]


@pytest.mark.parametrize("text", ["name: g\nserver: {host: h}", "name: f\nserver: {host: i}"])
def test_another_federation_has_no_place_in_the_same_folder(tmp_path: Path, text: str) -> None:
    carry_out(read(tmp_path, HEAD), tmp_path / "kits")
    with pytest.raises(ProvisionError, match=r"put the old one back, or make kits in another"):
        carry_out(read(tmp_path, text), tmp_path / "kits")


def test_days_can_change_for_what_is_made_from_now_on(tmp_path: Path) -> None:
    carry_out(read(tmp_path, HEAD), tmp_path / "kits")
    carry_out(read(tmp_path, HEAD + "days: 5"), tmp_path / "kits")
    assert "days = 5" in (tmp_path / "kits" / "ca" / "federation.toml").read_text()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "FILE: must be keys with values, such as name: hospitals"),
        ("- name", "FILE: must be keys with values"),
        ("name: f", "FILE: server: is missing; add it"),
        (HEAD + "site: [a]", "FILE: site: is not a key here; did you mean sites?"),
        (HEAD + "sites: [{nam: a}]", "FILE: sites.0.nam: is not a key here; did you mean name?"),
        (HEAD + "zzz: 1", "FILE: zzz: is not a key here; correct its name or remove it"),
        (HEAD + "sites: [[a]]", "FILE: sites.0: must be keys with values"),
        (HEAD + "operators: [{name: [a]}]", "FILE: operators.0.name: must be one text"),
        (HEAD + "sites: site-1", "FILE: sites: must be a list, such as [a, b]"),
        (HEAD + "sites:", "FILE: sites: must be a list, such as [a, b]"),
        ("name: f\nserver: h", "FILE: server: must be keys with values"),
        (HEAD + "? [a]\n: 1", "FILE:3: found unhashable key"),
        (HEAD + "~: 1", "FILE: ~: is not a key here"),
        (HEAD + "days: yes", "FILE: days: is 'yes': "),
        (HEAD + f"days: {'9' * 30}", "FILE: days: is '999"),
        (HEAD + "sites: [server]", "FILE: 'server' is the server's name and nobody else's"),
        (HEAD + "sites: [a, a]", "FILE: sites: 'a' is there twice; keep one"),
        (HEAD + "days: 0", "FILE: days: is '0': "),
        (HEAD + "days: 1.5", "FILE: days: is '1.5': "),
        (HEAD + "agents: [{name: g, site: b}]", "FILE: agents: 'g' is of site 'b', which is not"),
        ("name: F\nserver: {host: h}", "FILE: 'F' cannot be the name of a federation"),
        ("name: f\nserver: {host: 'http://h'}", "FILE: server.host: 'http://h' is no host; give"),
        ("name: f\nserver: {host: 10.0.0.300}", "FILE: server.host: '10.0.0.300' is no host"),
        ("name: f\nserver: {host: '*.h'}", "FILE: server.host: '*.h' is no host; give"),
        ("name: f\nserver: {host: h, port: 70000}", "FILE: server.port: is '70000': "),
        ("name: f\nname: g\nserver: {host: h}", "FILE:2: has 'name' twice; keep one of them"),
        ("name: [f", "FILE:1: "),
        ("name: !!python/object/apply:os.getpid []", "FILE:1: has a tag (tag:yaml.org,2002:python"),
        ("name: !!int 1:1", "FILE:1: has a tag (tag:yaml.org,2002:int); write the value without"),
        ("name: f\n--- \nname: g", "FILE:2: but found another document"),
        (b"name: \xff", "FILE: is no text in UTF-8"),
        ("name: \x00", "FILE: "),
    ],
)
def test_each_mistake_is_told_by_its_place(tmp_path: Path, text: str | bytes, told: str) -> None:
    assert told in refusal(tmp_path, text)


def test_a_value_is_the_text_that_it_looks_like(tmp_path: Path) -> None:
    plan = read(tmp_path, HEAD + "sites: [no, 007, 1_0, 2026-01-01, 0x10]")
    assert [site.name for site in plan.sites] == ["no", "007", "1_0", "2026-01-01", "0x10"]


@pytest.mark.parametrize("where", ["sites: [NAME]", "operators: [NAME]", "sites: [{name: NAME}]"])
@pytest.mark.parametrize("name", ["../x", "/etc", "a/b", ".", "..", "a.b", "", "-a", "a\\n", "é"])
def test_a_name_that_could_leave_the_folder_is_refused(
    tmp_path: Path, where: str, name: str
) -> None:
    text = refusal(tmp_path, HEAD + where.replace("NAME", f'"{name}"'))
    assert "cannot be a name" in text


@pytest.mark.parametrize("key", ["name", "site", "job"])
def test_no_part_of_an_agent_s_name_can_leave_the_folder(tmp_path: Path, key: str) -> None:
    parts = {"name": "g", "site": "a", "job": "j"} | {key: "../../x"}
    agent = ", ".join(f"{part}: {value}" for part, value in parts.items())
    text = refusal(tmp_path, HEAD + f"sites: [a]\nagents: [{{{agent}}}]")
    assert f"agents.0.{key}: '../../x' cannot be a name" in text


def test_a_few_lines_cannot_stand_for_more_than_fits_into_memory(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    assert "FILE:2: has an alias (*name); write the value itself" in refusal(
        tmp_path, "\n".join(lines)
    )


@pytest.mark.parametrize(
    "value",
    ["9" * 200_000, "1" + ":1" * 100_000, "- " * 20_000],
    ids=["digits", "base 60", "nested"],
)
def test_a_value_of_any_length_is_refused_in_a_short_line(tmp_path: Path, value: str) -> None:
    assert len(refusal(tmp_path, f"{HEAD}days: {value}")) < 400


def test_merging_with_an_alias_is_refused(tmp_path: Path) -> None:
    assert "has an alias" in refusal(tmp_path, "a: &a {b: 1}\nc:\n  <<: *a\n")


def test_a_file_that_nests_deeply_is_refused(tmp_path: Path) -> None:
    assert "is nested deeper than 20" in refusal(tmp_path, "name: " + "[" * 50_000)


def test_a_file_that_is_too_long_is_refused_before_it_is_read(tmp_path: Path) -> None:
    assert "is it the right file?" in refusal(tmp_path, b"#" * (MAX_BYTES + 1))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match=r"nowhere\.yml: there is no such file; give the"):
        load_plan(tmp_path / "nowhere.yml")
