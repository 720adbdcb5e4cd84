"""Prometheus: the newest value of each metric, asked of the store whenever somebody scrapes.

It keeps nothing, so there is nothing to catch up with: the page is right after every restart.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from federant.link.messages import SERVER_NAME, SinkName
from federant.server.state import JobRow, Store

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

_SHOWN_SECONDS: Final = 3600.0
"""How long after its end a job is still shown."""

MOST_TAGS: Final = 500
"""Of a site's part in a job: each is a series that Prometheus keeps, and a site may log any."""

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
        hidden = GaugeMetricFamily(
            "federant_metric_tags_hidden",
            f"Tags beyond the first {MOST_TAGS} of a site's part in a job",
            labels=_LABELS,
        )
        for job in self._jobs():
            tags: Counter[str] = Counter()
            for row in self._store.metrics(job.id):
                tags[row.site] += 1
                if tags[row.site] > MOST_TAGS:
                    continue
                labels = (job.id, row.site or SERVER_NAME, row.tag)
                value.add_metric(labels, row.last)
                logged.add_metric(labels, row.count)
                if row.last_step is not None:
                    step.add_metric(labels, row.last_step)
            for site, count in tags.items():
                if count > MOST_TAGS:
                    hidden.add_metric((job.id, site or SERVER_NAME), count - MOST_TAGS)
            for part in self._store.job_sites(job.id):
                dropped.add_metric((job.id, part.site), part.metrics_dropped)
        yield from (value, step, logged, dropped, hidden)

    def _jobs(self) -> Iterator[JobRow]:
        oldest = time.time() - _SHOWN_SECONDS
        for job, _ in self._store.open_sinks(SinkName.PROMETHEUS, ended_after=oldest):
            yield job
