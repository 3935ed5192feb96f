"""publishing/certfiles.py: pairs are read when they change, and halves of pairs are left alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trustme

from postfix_mtasts.publishing.certfiles import CertificateFiles
from postfix_mtasts.publishing.tls import Names

NAME = "mta-sts.example.com"


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = Names(lambda name: None)
        self.read: list[str] = []
        self.files = CertificateFiles(folder, lambda name, certificate: self.take(name, certificate.pem))

    def take(self, name: str, pem: bytes) -> None:
        self.names.put(name, pem)
        self.read.append(name)

    def certify(self, *, key: bool = True, chain: bool = True) -> None:
        issued = trustme.CA().issue_cert(NAME)
        (self.folder / NAME).mkdir(exist_ok=True)
        if key:
            issued.private_key_pem.write_to_path(str(self.folder / NAME / "privkey.pem"))
        if chain:
            issued.cert_chain_pems[0].write_to_path(str(self.folder / NAME / "fullchain.pem"))

    def look(self) -> None:
        self.files.look([NAME])


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_pair_is_read_once_and_again_when_it_changes(world: World) -> None:
    """Not at each look."""
    world.certify()
    world.look()
    world.look()
    assert world.read == [NAME]
    world.certify()
    world.look()
    assert world.read == [NAME, NAME]


def test_half_a_renewal_is_a_fault_until_the_other_half_is_there(world: World) -> None:
    """The certificate in use stays."""
    world.certify()
    world.look()
    before = world.files.certificates[NAME]
    world.certify(key=False)
    world.look()
    assert world.files.faults.keys() == {NAME}
    assert world.files.certificates[NAME] == before
    world.certify()
    world.look()
    assert world.files.faults == {}
    assert world.files.certificates[NAME] != before


def test_a_name_without_files_is_a_fault_that_names_the_file(world: World) -> None:
    """Once."""
    world.look()
    assert "privkey.pem: No such file" in world.files.faults[NAME]
    assert world.read == []


@pytest.mark.parametrize("text", ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_a_fault(text: str, world: World) -> None:
    """Never an exception."""
    world.certify()
    (world.folder / NAME / "fullchain.pem").write_text(text)
    world.look()
    assert world.files.faults.keys() == {NAME}


def test_a_pipe_in_the_place_of_a_file_is_a_fault(world: World) -> None:
    """Nobody may ever write into it: opening it as a file would hold up the start."""
    world.certify(chain=False)
    os.mkfifo(world.folder / NAME / "fullchain.pem")
    world.look()
    assert "fullchain.pem: is not a regular file" in world.files.faults[NAME]
