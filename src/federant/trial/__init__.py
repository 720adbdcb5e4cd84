"""Tries a trainer's script out: a client job's end, fake rounds, no server and no network.

What the rounds were like is a report; how it is shown is the command line's.
"""

from federant.trial.report import MetricSeen, TaskSeen, TensorSeen, TrialReport
from federant.trial.run import TrialPlan, run_trial

__all__ = ["MetricSeen", "TaskSeen", "TensorSeen", "TrialPlan", "TrialReport", "run_trial"]
