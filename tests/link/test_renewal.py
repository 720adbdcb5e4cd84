"""A kit that is renewed while it is in use holds for the next connection; half a one for none."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from federant.link import LinkConfigError
from federant.link.certificate import read_certificate
from federant.link.expiry import ExpiryWatch
from federant.link.kit import Kit
from federant.link.renewal import CurrentContext
from federant.link.tls import client_context
from federant.provision import make_federation, open_federation


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of the federation whose authority renews."""
    return tmp_path / "kits"


@pytest.fixture
def kit(folder: Path) -> Kit:
    return make_federation(folder, sites=["site-1"]).sites["site-1"]


def renew(folder: Path, kit: Kit) -> None:
    with open_federation(folder) as federation:
        federation.renew(kit.identity)


def test_a_kit_that_stays_as_it_is_is_read_once(kit: Kit) -> None:
    current = CurrentContext(kit, client_context)
    assert current() is current()


def test_a_renewed_kit_is_taken_up_at_the_next_look(
    folder: Path, kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "federant.link")
    current = CurrentContext(kit, client_context)
    before = current()
    renew(folder, kit)
    assert current() is not before
    assert current() is current()
    assert f"took up renewed kit={kit.folder} of='site site-1'" in caplog.messages


def test_a_kit_of_which_half_was_copied_is_taken_up_when_it_is_whole(
    folder: Path, kit: Kit, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = Kit(tmp_path / "own", kit.identity, kit.server)
    shutil.copytree(kit.folder, own.folder)
    current = CurrentContext(own, client_context)
    before = current()
    renew(folder, kit)
    shutil.copy2(kit.certificate, own.certificate)
    assert current() is before
    (line,) = caplog.messages
    assert line.startswith("the kit of site site-1 was changed and is of no use yet")
    shutil.copy2(kit.key, own.key)
    assert current() is not before


@pytest.mark.parametrize("how", ["gone", "open to all"])
def test_a_key_that_may_not_be_used_leaves_the_one_before_in_use(
    folder: Path, kit: Kit, how: str
) -> None:
    current = CurrentContext(kit, client_context)
    before = current()
    renew(folder, kit)
    if how == "gone":
        kit.key.unlink()
    else:
        kit.key.chmod(0o644)
    assert current() is before


def test_one_that_is_of_no_use_from_the_start_is_refused(kit: Kit) -> None:
    kit.certificate.write_text("")
    with pytest.raises(LinkConfigError, match=r"certificate\.pem"):
        CurrentContext(kit, client_context)


def test_how_long_the_certificate_is_good_is_told_of_the_renewed_one(
    folder: Path, kit: Kit
) -> None:
    watch = ExpiryWatch(kit)
    before = watch.facts()
    renew(folder, kit)
    assert watch.facts() == read_certificate(kit.certificate) != before
    renewed = watch.facts()
    kit.certificate.write_text("half of it")
    assert watch.facts() == renewed
