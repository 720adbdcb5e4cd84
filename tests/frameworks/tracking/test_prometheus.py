"""The page of a real server, read by prometheus_client's own parser."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from federant.link.messages import Event


def samples(server: Any) -> dict[tuple[str, str, str], float]:
    return {
        (sample.name, sample.labels["site"], sample.labels.get("tag", "")): sample.value
        for family in text_string_to_metric_families(server.get("/metrics"))
        for sample in family.samples
    }


@pytest.mark.timeout(900)
def test_the_newest_value_of_each_metric_is_on_the_page(server: Any, metric: Any) -> None:
    server.start()
    job, other = server.submit("prometheus"), server.submit("tensorboard")
    server.log(other, metric(1, 9.0, "other"))
    server.log(job, metric(1, 0.5), metric(2, float("inf")), metric(3, 0.25, 'odd "tag"\n'))
    server.log(job, Event(id="d", kind="DROPPED", tag="trainer", value=7.0))
    expected = {
        ("federant_metric", "site-1", "train/loss"): float("inf"),
        ("federant_metric_step", "site-1", "train/loss"): 2.0,
        ("federant_metric_logged_total", "site-1", "train/loss"): 2.0,
        ("federant_metric", "site-1", 'odd "tag"\n'): 0.25,
        ("federant_metrics_dropped_total", "site-1", ""): 7.0,
    }
    found = samples(server)
    assert {key: found[key] for key in expected} == expected
    assert not any(tag == "other" for _, _, tag in found)
    server.kill()
    server.start()
    assert samples(server) == found
