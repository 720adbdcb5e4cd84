"""Prometheus: the newest value of each metric, asked of the store whenever somebody scrapes.

It keeps nothing, so there is nothing to catch up with: the page is right after every restart.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from federant.link.messages import SinkName
from federant.server.state import JobRow, Store

from .base import SERVER

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

_SHOWN_SECONDS: Final = 3600.0
"""How long after its end a job is still shown."""

_LABELS: Final = ("job", "site")


def exposition(store: Store) -> bytes:
    """The text that Prometheus reads: of each job that names the sink, and runs or ended lately."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(store))
    text: bytes = generate_latest(registry)
    return text


class _Collector:
    """Makes the metrics of one scrape."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[Any]:
        value = GaugeMetricFamily(
            "federant_metric",
            "The newest value that was logged under a tag",
            labels=(*_LABELS, "tag"),
        )
        step = GaugeMetricFamily(
            "federant_metric_step", "The largest step under a tag", labels=(*_LABELS, "tag")
        )
        logged = CounterMetricFamily(
            "federant_metric_logged", "How often a tag was logged", labels=(*_LABELS, "tag")
        )
        dropped = CounterMetricFamily(
            "federant_metrics_dropped", "Records that were lost at a site", labels=_LABELS
        )
        for job in self._jobs():
            for row in self._store.metrics(job.id):
                labels = (job.id, row.site or SERVER, row.tag)
                value.add_metric(labels, row.last)
                logged.add_metric(labels, row.count)
                if row.last_step is not None:
                    step.add_metric(labels, row.last_step)
            for part in self._store.job_sites(job.id):
                dropped.add_metric((job.id, part.site), part.metrics_dropped)
        yield from (value, step, logged, dropped)

    def _jobs(self) -> Iterator[JobRow]:
        oldest = time.time() - _SHOWN_SECONDS
        for job, _ in self._store.open_sinks(SinkName.PROMETHEUS):
            if job.ended is None or job.ended > oldest:
                yield job
