"""Lightning: a patched Trainer validates and trains the federation's model, and sends the result.

For `lightning` and `pytorch_lightning`, whichever the trainer is of. A script of many processes
uses these functions in each of them alike.
"""

from federant.client.api import (
    clear,
    get_config,
    get_job_id,
    get_site_name,
    get_task_name,
    is_evaluate,
    is_submit_model,
    is_train,
    log,
    receive,
    send,
    shutdown,
    system_info,
)
from federant.client.lightning.asking import is_running
from federant.client.lightning.patching import patch
from federant.client.torch.joining import init
from federant.exchange import FLModel, ParamsType

__all__ = [
    "FLModel",
    "ParamsType",
    "clear",
    "get_config",
    "get_job_id",
    "get_site_name",
    "get_task_name",
    "init",
    "is_evaluate",
    "is_running",
    "is_submit_model",
    "is_train",
    "log",
    "patch",
    "receive",
    "send",
    "shutdown",
    "system_info",
]
