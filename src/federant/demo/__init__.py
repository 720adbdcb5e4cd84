"""The demonstration: a whole federation of real processes on this machine, learning real data."""

from federant.demo.federation import FederationError, LocalFederation
from federant.demo.interrupts import Interrupted
from federant.demo.report import Report
from federant.demo.run import run_demo

__all__ = ["FederationError", "Interrupted", "LocalFederation", "Report", "run_demo"]
