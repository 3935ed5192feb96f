"""Containerfile and compose.yml: what they name exists. What they make is tests/integration/test_container.py's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from postfix_mtasts.config.environment import variable
from postfix_mtasts.config.file import leaves, load
from postfix_mtasts.config.settings import DEFAULT_CONFIG_FILE, DEFAULT_DIRECTORY, Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yml").read_text())
IMAGE = (ROOT / "Containerfile").read_text()
VARIABLES = {variable(key) for key in leaves(Settings())}


def test_compose_names_what_exists() -> None:
    """Containerfiles, volumes, and the services that wait for each other."""
    assert set(COMPOSE["services"]) == {"mtasts", "postfix"}
    for service in COMPOSE["services"].values():
        assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        assert {volume.partition(":")[0] for volume in service["volumes"]} <= set(COMPOSE["volumes"])
        assert set(service.get("depends_on", [])) <= set(COMPOSE["services"])


def test_compose_sets_variables_that_are_settings() -> None:
    """And empty ones leave the defaults."""
    environment = COMPOSE["services"]["mtasts"]["environment"]
    assert set(environment) <= VARIABLES
    assert all(re.fullmatch(r"\$\{[A-Z_]+:-\}", value) for value in environment.values())


def test_nobody_but_postfix_can_ask() -> None:
    """No port of the daemon is published, and its root is read-only."""
    daemon = COMPOSE["services"]["mtasts"]
    assert "ports" not in daemon
    assert daemon["read_only"] is True
    assert daemon["cap_drop"] == ["ALL"]


def test_the_image_listens_where_postfix_asks() -> None:
    """The port of MTASTS_LISTEN is that of the table, and the host is the service."""
    (listen,) = re.findall(r"^ENV MTASTS_LISTEN=(\S+)$", IMAGE, re.MULTILINE)
    (address,) = load("c.yml", "", {"MTASTS_LISTEN": listen}).settings.listen
    port = address.rpartition(":")[2]
    assert f"\nEXPOSE {port}\n" in IMAGE
    assert f"socketmap:inet:mtasts:{port}:postfix" in (ROOT / "docs/container/postfix/Containerfile").read_text()


def test_the_volume_is_the_store() -> None:
    """In the image, in compose.yml and in the manual."""
    (volume,) = re.findall(r"^VOLUME (\S+)$", IMAGE, re.MULTILINE)
    assert volume == DEFAULT_DIRECTORY
    assert COMPOSE["services"]["mtasts"]["volumes"] == [f"policies:{DEFAULT_DIRECTORY}"]
    text = (ROOT / "docs/container.rst").read_text()
    assert DEFAULT_DIRECTORY in text
    assert DEFAULT_CONFIG_FILE in text


def test_the_documents_name_no_variable_that_does_not_exist() -> None:
    """Nor do the Containerfiles."""
    for name in ("docs/container.rst", "Containerfile", "compose.yml"):
        assert set(re.findall(r"\bMTASTS_[A-Z_]+", (ROOT / name).read_text())) - {"MTASTS_", "MTASTS_PORT"} <= VARIABLES
