"""The options of `tabbyapi serve --ray` that cannot go together."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from tabbyapi.cli.serve import serve


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--replicas", "2"], "--replicas needs --ray"),
        (["--backend", "http://a"], "--backend needs --ray"),
        (["--ray", "--replicas", "2", "--autoscale", "1:4"], "either --replicas or --autoscale"),
        (["--ray", "--backend", "http://a", "--replicas", "2"], "--backend starts no engines"),
        (["--ray", "--autoscale", "4:1"], "write it as MIN:MAX"),
        (["--ray", "--autoscale", "4"], "write it as MIN:MAX"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(serve, arguments)
    assert result.exit_code == 2
    assert message in result.output
