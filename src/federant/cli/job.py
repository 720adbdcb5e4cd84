"""`federant job run|follow|list|show|stop|delete|model`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from federant.cli.connection import KitFolder, Server, federation_at
from federant.cli.following import follow_to_the_end, round_of
from federant.cli.group import command_group
from federant.cli.output import (
    Verbosity,
    add_texts,
    console,
    errors,
    fail,
    plain,
    print_table,
    set_up_log,
    table_of,
    without_controls,
)

if TYPE_CHECKING:
    from federant.link.operator import Job

app = command_group(
    "Run jobs at a federation's server, and look after them.",
)

_NAMES_SHOWN: Final = 5

JobId = Annotated[
    str, typer.Argument(help="The job's id, as [bold]federant job list[/bold] shows.")
]


@app.command("run")
def run(
    trainer: Annotated[
        str, typer.Argument(help="The trainer's name; each site's file says what it starts.")
    ],
    workflow: Annotated[str, typer.Option(help="The server's program for the job.")] = "fedavg",
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", "-p", metavar="NAME=VALUE", help="A parameter of the workflow; repeatable."
        ),
    ] = None,
    site: Annotated[
        list[str] | None,
        typer.Option(help="A site that takes part; repeatable. Default: every site."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="The model to begin with: a .safetensors file.")
    ] = None,
    sink: Annotated[
        list[str] | None,
        typer.Option(
            help="Where the job's metrics go on to: tensorboard, mlflow, wandb, prometheus; "
            "repeatable."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="What people call the job.")] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Print the job's id and do not wait for its end.")
    ] = False,
    server: Server = None,
    kit: KitFolder = None,
    verbose: Verbosity = 0,
) -> None:
    """Submit a job and follow it to its end.

    The job's id goes to the standard output, for scripts; what happens goes to the standard error:
    every round's begin and end, what goes wrong, and once a second at most the newest metrics.
    [bold]federant metrics JOB[/bold] has them all.

    The exit status is 0 only if the job finished well. Ctrl-C stops following, not the job.

    Example: [bold]federant job run digits -p rounds=10 -p min_sites=3[/bold]
    """
    set_up_log(verbose)
    params = dict(_param(text) for text in param or [])
    with federation_at(server, kit) as federation:
        job = federation.submit(
            trainer=trainer,
            workflow=workflow,
            name=name,
            sites=site or (),
            initial_model=model,
            params=params,
            sinks=sink or (),
        )
        console.print(plain(job.id), soft_wrap=True)
        if not detach:
            follow_to_the_end(federation, job)


@app.command("follow")
def follow(
    job_id: JobId, server: Server = None, kit: KitFolder = None, verbose: Verbosity = 0
) -> None:
    """Follow a job to its end, from its first event on: one that runs, or has ended.

    It tells what [bold]federant job run[/bold] does, to the standard error; nothing goes to the
    standard output.

    The exit status is 0 only if the job finished well. Ctrl-C stops following, not the job.

    Example: [bold]federant job follow JOB[/bold]
    """
    set_up_log(verbose)
    with federation_at(server, kit) as federation:
        follow_to_the_end(federation, federation.job(job_id))


@app.command("list")
def list_jobs(server: Server = None, kit: KitFolder = None, verbose: Verbosity = 0) -> None:
    """List all jobs that the server keeps.

    Example: [bold]federant job list --server http://127.0.0.1:8750[/bold]
    """
    set_up_log(verbose)
    with federation_at(server, kit) as federation:
        jobs = federation.jobs()
    if not jobs:
        errors.print("no jobs yet; submit one with: federant job run TRAINER")
        return
    table = table_of("id", "name", "workflow", "trainer", "state", "round")
    for view in jobs:
        spec = view.spec
        where = round_of(view) or "-"
        add_texts(table, view.id, spec.name, spec.workflow, spec.trainer, view.state, where)
    print_table(table)


@app.command("show")
def show(
    job_id: JobId, server: Server = None, kit: KitFolder = None, verbose: Verbosity = 0
) -> None:
    """Show one job: its state, its sites, its models.

    Example: [bold]federant job show JOB[/bold]
    """
    set_up_log(verbose)
    with federation_at(server, kit) as federation:
        job = federation.job(job_id)
        view, models = job.view(), job.models()
    spec = view.spec
    facts = table_of(header=False)
    add_texts(facts, "id", view.id)
    add_texts(facts, "name", spec.name)
    add_texts(facts, "state", view.state + (" (asked to stop)" if view.stop_requested else ""))
    add_texts(facts, "workflow", spec.workflow)
    add_texts(facts, "parameters", json.dumps(spec.params))
    add_texts(facts, "trainer", spec.trainer)
    add_texts(facts, "round", round_of(view) or "-")
    newest = f"round {models[-1].round + 1}" if models else "none yet"
    add_texts(facts, "newest model", newest)
    print_table(facts)
    sites = table_of("site", "state", "bytes up", "bytes down", "says")
    for row in view.sites:
        add_texts(sites, row.site, row.state, str(row.bytes_up), str(row.bytes_down), row.text)
    print_table(sites)
    if view.error:
        console.print(plain(f"error: {view.error.rstrip()}"), soft_wrap=True)


@app.command("stop")
def stop(
    job_id: JobId, server: Server = None, kit: KitFolder = None, verbose: Verbosity = 0
) -> None:
    """Stop a job; its trainers are told at once.

    Example: [bold]federant job stop JOB[/bold]
    """
    set_up_log(verbose)
    with federation_at(server, kit) as federation:
        view = federation.job(job_id).stop()
    console.print(view.state.value + (" (stopping)" if not view.state.ended else ""))


@app.command("delete")
def delete(
    job_id: JobId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete it without asking.")] = False,
    server: Server = None,
    kit: KitFolder = None,
    verbose: Verbosity = 0,
) -> None:
    """Delete a job that has ended from the server, for good: its models, metrics and events.

    Shows what the job is, and asks first. What its sinks were given, and what its sites keep of it,
    stays there. A job that runs is refused: stop it first.

    The exit status is 0 only if the job was deleted.

    Example: [bold]federant job delete JOB[/bold]
    """
    set_up_log(verbose)
    with federation_at(server, kit) as federation:
        job = federation.job(job_id)
        if not (yes or _agreed(job)):
            raise typer.Exit(1)
        gone = job.delete()
    later = f", within a day: {gone.bytes_later}" if gone.bytes_later else ""
    console.print(
        plain(
            f"deleted {job_id}; models: {gone.models}, metrics and events: {gone.events}, "
            f"bytes freed: {gone.bytes_freed}{later}"
        ),
        soft_wrap=True,
    )


def _agreed(job: Job) -> bool:
    if not _somebody_is_there():
        errors.print("not deleted: nobody is there to be asked; --yes deletes without asking")
        return False
    view, models = job.view(), job.models()
    what = f"job {view.id} ({view.spec.name}, {view.state}, models: {len(models)})"
    return typer.confirm(f"Delete {without_controls(what)} for good?", default=False, err=True)


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()


@app.command("model")
def model(
    job_id: JobId,
    file: Annotated[Path, typer.Argument(help="Where to write it, such as model.safetensors.")],
    round: Annotated[
        int | None,
        typer.Option(
            min=1, help="Of which round, counted from 1 as `job show` does; default: the newest."
        ),
    ] = None,
    server: Server = None,
    kit: KitFolder = None,
    verbose: Verbosity = 0,
) -> None:
    """Save a job's global model as a safetensors file; lists and numbers in it become tensors.

    Example: [bold]federant job model JOB model.safetensors[/bold]
    """
    # numpy is imported by the commands that need it.
    from federant.cli.model_file import model_file

    set_up_log(verbose)
    with federation_at(server, kit) as federation:
        job = federation.job(job_id)
        if round is not None:
            kept = [str(model.round + 1) for model in job.models()]
            if str(round) not in kept:
                rounds = ", ".join(kept) or "none yet"
                raise fail(f"job {job_id} has no model of round {round}; kept: {rounds}")
        data, left = model_file(job.model_bytes("latest" if round is None else round - 1))
        file.write_bytes(data)
    if left:
        errors.print(plain(_no_tensors(file, left)), soft_wrap=True)
    console.print(plain(f"{file}: {len(data)} bytes"), soft_wrap=True)


def _no_tensors(file: Path, names: Sequence[str]) -> str:
    """What other programs will miss."""
    shown = ", ".join(repr(name) for name in names[:_NAMES_SHOWN])
    rest = len(names) - _NAMES_SHOWN
    more = f" and {rest} more" if rest > 0 else ""
    return (
        f"warning: of the model, {shown}{more} cannot be tensors: {file} holds them for federant, "
        "other programs do not see them"
    )


def _param(text: str) -> tuple[str, Any]:
    """`rounds=10` as a name and a value; a value that is no JSON is a text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"{text!r} is not of the form NAME=VALUE", param_hint="--param")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
