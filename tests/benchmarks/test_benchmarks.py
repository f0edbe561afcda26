"""The benchmarks run; what they measure is not judged here."""

from __future__ import annotations

import pytest
from benchmarks.growth import growth_table, measure_growth
from benchmarks.local_server import SERVER_SIZES, STREAMS, measure_server
from benchmarks.peers import PEERS
from benchmarks.report import GOALS, goals_table
from benchmarks.run import call_worker, replay_server
from benchmarks.server_growth import measure_server_growth
from benchmarks.server_report import SERVER_GOALS, server_figures_table, server_goals_table
from benchmarks.sizes import SMOKE


@pytest.fixture(scope="module")
def urls():
    with replay_server() as addresses:
        yield addresses


@pytest.mark.parametrize(
    "peer", ["tabbyapi sync", "tabbyapi async", "urllib3+json sync", "raw socket"]
)
def test_a_worker_measures_every_way_of_sending(urls, peer):
    figures = call_worker("measure", SMOKE, peer=peer, urls=urls)
    expected = {"coalesced_us", "bundled_us", "single_us", "request_us", "history_us", "warm_ms"}
    assert expected <= figures.keys()
    assert all(value > 0 for value in figures.values())


@pytest.mark.parametrize("what", ["pace", "hold"])
def test_paced_streams_all_finish(urls, what):
    figures = call_worker(what, SMOKE, peer="tabbyapi async", urls=urls)
    assert figures.get("unfinished", 0) == 0


def test_the_parser_is_measured_without_a_network():
    assert call_worker("parser", SMOKE)["decode_us"] > 0


def test_growth_is_measured_at_growing_sizes():
    sizes = SMOKE._replace(growth=25, seconds=0.1)
    found = measure_growth(sizes, lambda _: None)
    assert all(growth.sizes == sorted(set(growth.sizes)) for growth in found)
    assert growth_table(found).count("\n") == len(found) + 1


def test_the_local_server_is_measured_against_its_engine():
    found = measure_server(SERVER_SIZES["smoke"], lambda _: None)
    ours = found["local server, tiny model"]
    rates = {f"rate_{count}" for count in STREAMS} | {f"server_{count}_us" for count in STREAMS}
    others = {"cold_ms", "second_ms", "leave_decode_s", "leave_prefill_s", "stream_kib"}
    assert rates | others <= ours.keys()
    assert all(
        value >= 0 for figures in found.values() for values in figures.values() for value in values
    )
    assert server_goals_table(found).count("tiny model") == len(SERVER_GOALS)
    assert "local server, tiny model" in server_figures_table(found)


def test_the_growth_of_the_local_server_is_measured_at_growing_sizes():
    found = measure_server_growth(20, lambda _: None)
    assert all(growth.sizes == sorted(set(growth.sizes)) for growth in found)
    assert all(growth.costs[-1] > 0 for growth in found[:3])


def test_the_goals_name_peers_that_exist_and_read_as_a_table():
    named = {side[0] for goal in GOALS for side in (goal.ours, goal.other) if side}
    assert named <= {*PEERS, "parser"}
    goal = GOALS[0]
    assert goal.other is not None
    results = {goal.ours[0]: {goal.ours[1]: [2.0, 2.0]}, goal.other[0]: {goal.other[1]: [70, 90]}}
    assert "| 40x | 35 to 45 | no |" in goals_table(results)
