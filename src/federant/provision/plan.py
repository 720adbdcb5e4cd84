"""The federation's YAML file: who is to take part, and where its server is.

name: hospitals
server:
  host: fed.example.org
sites: [site-1, site-2]
operators: [alice]
"""

from __future__ import annotations

import difflib
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Final, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictStr,
    ValidationError,
)

from federant.link.identity import Role
from federant.link.messages import NAME_RULE, is_name

from .errors import ProvisionError
from .party import Party, checked_host, checked_relay, identity_of, place_of, server_url
from .settings import DEFAULT_DAYS, MAX_DAYS, Settings
from .yaml_file import load_yaml

DEFAULT_PORT: Final = 8750
_MAX_LINE: Final = 300


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError(f"{text!r} cannot be a name; one is {NAME_RULE}")
    return text


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


_Name = Annotated[StrictStr, AfterValidator(_name)]
_Host = Annotated[StrictStr, AfterValidator(checked_host)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerPlan(_Part):
    host: _Host
    """The DNS name or address under which everybody dials the server."""
    port: int = Field(default=DEFAULT_PORT, ge=1, le=65535)
    hosts: tuple[_Host, ...] = ()
    """Further ones that its certificate is for."""


class SitePlan(_Part):
    name: _Name
    hosts: tuple[_Host, ...] = ()
    """DNS names and addresses under which the site's own agents dial it."""


class OperatorPlan(_Part):
    name: _Name


class AgentPlan(_Part):
    name: _Name
    site: _Name
    job: _Name | None = None
    """The only job that it may serve; every one of its site's if it names none."""
    relay: Annotated[StrictStr, AfterValidator(checked_relay)] = ""
    """The address of its site's relay: what the agent dials from another machine."""


class Plan(_Part):
    """Who takes part in a federation."""

    name: StrictStr
    server: ServerPlan
    sites: tuple[Annotated[SitePlan, BeforeValidator(_named)], ...] = ()
    operators: tuple[Annotated[OperatorPlan, BeforeValidator(_named)], ...] = ()
    agents: tuple[AgentPlan, ...] = ()
    days: int = Field(default=DEFAULT_DAYS, ge=1, le=MAX_DAYS)
    """How long a certificate is good for."""

    @property
    def settings(self) -> Settings:
        """What holds for all kits."""
        return Settings(self.name, server_url(self.server.host, self.server.port), self.days)

    def parties(self) -> list[Party]:
        """Everybody who is to have a kit; ProvisionError where that cannot be."""
        of = self.name
        hosts = tuple(dict.fromkeys((self.server.host, *self.server.hosts)))
        sites = {site.name for site in self.sites}
        for agent in self.agents:
            if agent.site not in sites:
                raise ProvisionError(
                    f"agents: {agent.name!r} is of site {agent.site!r}, which is not among the "
                    "sites; add that, or correct its name"
                )
        parties = [
            Party(identity_of(of, Role.SERVER), hosts),
            *(Party(identity_of(of, Role.SITE, each.name), each.hosts) for each in self.sites),
            *(Party(identity_of(of, Role.OPERATOR, each.name)) for each in self.operators),
            *(
                Party(
                    identity_of(of, Role.AGENT, each.name, site=each.site, job=each.job or ""),
                    relay=each.relay,
                )
                for each in self.agents
            ),
        ]
        twice = [
            place for place, n in Counter(place_of(p.identity) for p in parties).items() if n > 1
        ]
        if twice:
            raise ProvisionError(f"{twice[0].parent}: {twice[0].name!r} is there twice; keep one")
        return parties


def load_plan(path: Path) -> Plan:
    """Read a federation's file; ProvisionError names the file, each wrong key, and what to do."""
    raw = load_yaml(path)
    if not isinstance(raw, dict):
        raise ProvisionError(f"{path}: must be keys with values, such as name: hospitals")
    try:
        plan = Plan.model_validate(raw)
    except ValidationError as error:
        raise ProvisionError(_explain(path, error)) from error
    try:
        plan.parties()
        _ = plan.settings
    except ProvisionError as error:
        raise ProvisionError(f"{path}: {error}") from error
    return plan


def _explain(path: Path, error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_context=False):
        key = ".".join(str(part) for part in problem["loc"]) or "file"
        text = problem["msg"].removeprefix("Value error, ")
        match problem["type"]:
            case "extra_forbidden":
                text = "is not a key here" + _nearest(problem["loc"])
            case "missing":
                text = "is missing; add it"
            case "string_type":
                text = "must be one text"
            case "tuple_type":
                text = "must be a list, such as [a, b]"
            case "model_type" | "dict_type":
                text = "must be keys with values"
            case "value_error":
                pass
            case _:
                text = f"is {problem['input']!r}: {text}"
        lines.append(f"{path}: {key}: {text}"[:_MAX_LINE])
    return "\n".join(lines)


def _nearest(place: tuple[int | str, ...]) -> str:
    """The key that was probably meant by an unknown one, as a question."""
    model: Any = Plan
    for part in place[:-1]:
        if isinstance(part, str) and part in model.model_fields:
            annotation: Any = model.model_fields[part].annotation
            while get_args(annotation):
                annotation = get_args(annotation)[0]
            model = annotation
    found = difflib.get_close_matches(str(place[-1]), model.model_fields, n=1)
    return f"; did you mean {found[0]}?" if found else "; correct its name or remove it"
