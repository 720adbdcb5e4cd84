"""All checks of one party, in the order in which one would put things right."""

from __future__ import annotations

from collections.abc import Iterator

from federant.link.identity import Role

from .certificates import look_at_certificate
from .findings import Finding
from .machine import look_at_machine
from .network import look_at_network
from .subject import Subject


def examine(subject: Subject) -> Iterator[Finding]:
    """Each finding as it comes; the network's last, as they may take some seconds.

    Nothing is changed, here or at the server, but for a file in the working folder that is written
    and removed.
    """
    yield from subject.findings
    if subject.kit is not None:
        yield from look_at_certificate(subject.kit)
    if subject.site is not None:
        from .trainers import look_at_trainers

        yield from look_at_trainers(subject.site)
        if subject.site.relay is not None:
            from .relay import look_at_own_relay

            yield from look_at_own_relay(subject.site.relay, subject.kit)
    yield from look_at_machine(subject)
    if subject.kit is not None and subject.role is Role.AGENT:
        from .relay import look_at_relay

        # An agent has no business with the server, which its machine may not even reach.
        yield from look_at_relay(subject.kit)
    else:
        yield from look_at_network(subject)
