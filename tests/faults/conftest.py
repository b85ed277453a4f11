"""A running fleet for the tests that do one thing to it."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fleet import Fleet, prepare_database
from support.postgres import Server


@pytest.fixture(scope="session")
def inventory(postgres_server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a template database with schema and inventory."""
    prepare_database(postgres_server, "calm_template", tmp_path_factory.mktemp("inventory") / "calm")
    return "calm_template"


@pytest.fixture
def fleet(postgres_server: Server, inventory: str, tmp_path: Path) -> Iterator[Fleet]:
    """One collector and two agents that have sent something, on a database of their own."""
    name = f"calm_{secrets.token_hex(4)}"
    postgres_server.create(name, inventory)
    try:
        with Fleet(tmp_path / "fleet", postgres_server, name) as running:
            yield running
    finally:
        postgres_server.drop(name)
