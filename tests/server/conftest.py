"""A store on a fresh file, blobs in a fresh folder, and a server of real HTTP on a free port."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from federant.link import LinkClient
from federant.link.messages import JobSpec
from federant.server.blobs import FolderBlobs
from federant.server.routes.app import create_app
from federant.server.routes.services import Services
from federant.server.serving import HttpService, listen, url_of
from federant.server.state import Durability, JobRow, Store
from federant.server.wakeups import Wakeups


class SettableClock:
    """Time for the store, in the test's hands."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def wakeups() -> Wakeups:
    return Wakeups()


@pytest.fixture
def store_clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def clocked_store(tmp_path: Path, wakeups: Wakeups, store_clock: SettableClock) -> Iterator[Store]:
    store = Store.in_file(
        tmp_path / "clocked.db",
        notify=wakeups.notify,
        durability=Durability.PROCESS,
        clock=store_clock,
    )
    yield store
    store.close()


@pytest.fixture
def store(tmp_path: Path, wakeups: Wakeups) -> Iterator[Store]:
    path = tmp_path / "state.db"
    store = Store.in_file(path, notify=wakeups.notify, durability=Durability.PROCESS)
    yield store
    store.close()


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "blobs", durability=Durability.PROCESS)


@pytest.fixture
def services(store: Store, blobs: FolderBlobs, wakeups: Wakeups) -> Services:
    return Services(store=store, blobs=blobs, wakeups=wakeups, server_id="s-test")


@pytest.fixture
def submit() -> Callable[..., JobRow]:
    """Submits a job on a store: ``submit(store, "site-1", "site-2")``."""

    def make(store: Store, *sites: str) -> JobRow:
        return store.create_job(JobSpec(name="digits", trainer="digits", sites=sites))

    return make


@pytest.fixture
def run_python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """``run_python("-m", "federant", "server")``: a process, which ends with the test."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


class Stage:
    """An application that is whichever one is on it: starting a server for each test is slow."""

    def __init__(self) -> None:
        self.url = ""
        self.app: FastAPI | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)

    @contextmanager
    def serving(self, services: Services) -> Iterator[str]:
        self.app, before = create_app(services), self.app
        try:
            yield self.url
        finally:
            # Whoever still waits there is let go.
            services.wakeups.close()
            self.app = before


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    """One server of real HTTP, in a thread."""
    stage = Stage()
    with listen("127.0.0.1", 0) as listening:
        stage.url = url_of(listening)
        service = HttpService(stage, Wakeups())
        thread = threading.Thread(target=service.run, args=([listening],), name="server")
        thread.start()
        yield stage
        service.stop()
        thread.join(60)
    assert not thread.is_alive()


@pytest.fixture
def serving(stage: Stage) -> Callable[[Services], AbstractContextManager[str]]:
    """``with serving(services) as url``: those services for the length of the block."""
    return stage.serving


@pytest.fixture
def server_url(stage: Stage, services: Services) -> Iterator[str]:
    with stage.serving(services) as url:
        yield url


@pytest.fixture
def link(server_url: str) -> Iterator[Callable[[str], LinkClient]]:
    """Makes clients of the server: ``link("site-1")``."""
    with ExitStack() as stack:
        yield lambda site: stack.enter_context(LinkClient(server_url, site))


@pytest.fixture
def in_threads() -> Callable[[int, Callable[[int], Any]], list[Any]]:
    """``in_threads(8, act)``: ``act(0)`` to ``act(7)``, started at the same moment."""

    def run(count: int, act: Callable[[int], Any]) -> list[Any]:
        barrier = threading.Barrier(count)

        def one(number: int) -> Any:
            barrier.wait(60)
            return act(number)

        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(one, range(count)))

    return run


def booster_dict(
    *, rounds: int = 1, leaf: float = 0.5, parallel: int = 1, classes: int = 0, features: int = 3
) -> dict[str, Any]:
    """What XGBoost 3.2 writes of a booster whose trees split once, at 1.5 of the second feature.

    An example goes to the left for ``-leaf``, else to the right for ``leaf``.
    """
    groups = max(classes, 1)
    each = groups * parallel
    tree = {
        "base_weights": [0.0, -1.0, 1.0],
        "categories": [],
        "categories_nodes": [],
        "categories_segments": [],
        "categories_sizes": [],
        "default_left": [0, 0, 0],
        "left_children": [1, -1, -1],
        "loss_changes": [2.5, 0.0, 0.0],
        "parents": [2147483647, 0, 0],
        "right_children": [2, -1, -1],
        "split_conditions": [1.5, -leaf, leaf],
        "split_indices": [1, 0, 0],
        "split_type": [0, 0, 0],
        "sum_hessian": [8.0, 4.0, 4.0],
        "tree_param": {
            "num_deleted": "0",
            "num_feature": str(features),
            "num_nodes": "3",
            "size_leaf_vector": "1",
        },
    }
    model = {
        "cats": {"enc": [], "feature_segments": [], "sorted_idx": []},
        "gbtree_model_param": {
            "num_parallel_tree": str(parallel),
            "num_trees": str(rounds * each),
        },
        "iteration_indptr": list(range(0, rounds * each + 1, each)),
        "tree_info": [group for _ in range(rounds) for group in range(groups)] * parallel,
        "trees": [{**tree, "id": at} for at in range(rounds * each)],
    }
    return {
        "learner": {
            "attributes": {},
            "feature_names": [],
            "feature_types": [],
            "gradient_booster": {"model": model, "name": "gbtree"},
            "learner_model_param": {
                "base_score": f"[{','.join(['5E-1'] * groups)}]",
                "boost_from_average": "1",
                "num_class": str(classes),
                "num_feature": str(features),
                "num_target": "1",
            },
            "objective": {
                "name": "binary:logistic",
                "reg_loss_param": {"scale_pos_weight": "1"},
            },
        },
        "version": [3, 2, 0],
    }


@pytest.fixture
def new_booster() -> Callable[..., dict[str, Any]]:
    """Makes the JSON of a booster as dicts and lists: see ``booster_dict``."""
    return booster_dict


@pytest.fixture
def booster_text() -> Callable[..., bytearray]:
    """Makes the text of a booster: see ``booster_dict``."""

    def text(**options: Any) -> bytearray:
        return bytearray(json.dumps(booster_dict(**options), separators=(",", ":")).encode())

    return text
