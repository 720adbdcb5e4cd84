"""Certificates and startup kits: a federation's own authority, and what it makes for each party."""

from .certificates import fingerprint
from .errors import ProvisionError
from .federation import Federation, Renewed, open_federation
from .making import FederationKits, Provisioned, carry_out, make_federation
from .party import Party, checked_host, checked_relay, identity_of, place_of
from .plan import Plan, load_plan
from .record import Issued
from .requests import Request, make_request, read_request
from .settings import Settings
from .survey import Condition, Seen, survey

__all__ = [
    "Condition",
    "Federation",
    "FederationKits",
    "Issued",
    "Party",
    "Plan",
    "ProvisionError",
    "Provisioned",
    "Renewed",
    "Request",
    "Seen",
    "Settings",
    "carry_out",
    "checked_host",
    "checked_relay",
    "fingerprint",
    "identity_of",
    "load_plan",
    "make_federation",
    "make_request",
    "open_federation",
    "place_of",
    "read_request",
    "survey",
]
