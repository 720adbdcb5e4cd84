"""Identities as SPIFFE IDs: each is read as it was written, and nothing else is taken for one."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federant.link.identity import Identity, Role

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True).filter(
    lambda name: name != "server"
)
FEDERATIONS = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,62}", fullmatch=True)
IDENTITIES = st.one_of(
    st.builds(Identity, FEDERATIONS, st.just(Role.SERVER)),
    st.builds(Identity, FEDERATIONS, st.sampled_from([Role.SITE, Role.OPERATOR]), NAMES),
    st.builds(
        Identity, FEDERATIONS, st.just(Role.AGENT), NAMES, site=NAMES, job=NAMES | st.just("")
    ),
)


@given(IDENTITIES)
def test_an_identity_is_read_as_it_was_written(identity: Identity) -> None:
    assert Identity.from_uri(str(identity)) == identity


@given(IDENTITIES, st.integers(0, 300), st.sampled_from([*string.printable, ""]))
def test_a_text_that_is_read_is_written_again_letter_for_letter(
    identity: Identity, place: int, letter: str
) -> None:
    text = str(identity)
    place = min(place, len(text) - 1)
    changed = text[:place] + letter + text[place + 1 :]
    try:
        read = Identity.from_uri(changed)
    except ValueError:
        return
    assert str(read) == changed


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "https://f/site/site-1",
        "spiffe://f",
        "spiffe://f/",
        "spiffe://F/site/site-1",
        "spiffe://f/site/",
        "spiffe://f/site/server",
        "spiffe://f/operator/server",
        "spiffe://f/site/site-1/",
        "spiffe://f/site/site-1\n",
        "spiffe://f/site/site-1/job/j",
        "spiffe://f/site/site-1/agent/a/job/j",
        "spiffe://f/site/../operator/o",
        "spiffe://f/site/site%2d1",
        "spiffe://f:8750/site/site-1",
        "spiffe://f/site/site-1?x",
        "spiffe://f/root/r",
    ],
)
def test_other_uris_name_nobody(uri: str) -> None:
    with pytest.raises(ValueError):
        Identity.from_uri(uri)


def test_only_an_agent_belongs_to_a_site() -> None:
    with pytest.raises(ValueError, match="an agent has a name and a site"):
        Identity("f", Role.AGENT, "a")
    with pytest.raises(ValueError, match="everybody else has a name only"):
        Identity("f", Role.SITE, "site-1", site="site-2")


def test_an_identity_tells_people_who_it_is() -> None:
    assert Identity("f", Role.SERVER).title == "server of f"
    assert Identity("f", Role.SITE, "site-1").title == "site site-1"
    assert Identity("f", Role.AGENT, "a", "site-1", "j").title == "agent a of site site-1 for job j"
