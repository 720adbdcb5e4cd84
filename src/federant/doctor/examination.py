"""All checks of one party, in the order in which one would put things right."""

from __future__ import annotations

from collections.abc import Iterator

from federant.link.identity import Role

from .certificates import look_at_certificate
from .findings import Finding, Level
from .machine import look_at_machine
from .network import look_at_network
from .subject import Subject


def examine(subject: Subject) -> Iterator[Finding]:
    """Each finding as it comes; the network's last, as they may take some seconds.

    With a certificate that is no good nobody is spoken to: it would be told again at each place.
    Nothing is changed, here or at the server, but for a file in the working folder that is written
    and removed.
    """
    yield from subject.findings
    good = True
    if subject.kit is not None:
        for finding in look_at_certificate(subject.kit):
            good = good and finding.level is not Level.PROBLEM
            yield finding
    if subject.site is not None:
        from .trainers import look_at_trainers

        yield from look_at_trainers(subject.site)
        if subject.site.relay is not None:
            from .relay import look_at_own_relay

            yield from look_at_own_relay(subject.site.relay, subject.kit if good else None)
    yield from look_at_machine(subject)
    if subject.kit is not None and subject.role is Role.AGENT:
        from .relay import look_at_relay

        # An agent has no business with the server, which its machine may not even reach.
        yield from look_at_relay(subject.kit, speak=good)
    else:
        yield from look_at_network(subject, speak=good)
