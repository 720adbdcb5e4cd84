"""For PyTorch scripts: a module's parameters in and out of the models that travel.

Trainers of many processes take part through `federant.client.torch.distributed`.
"""

from federant.client.fitting import ParameterMismatchError
from federant.client.torch.state import (
    Loaded,
    load_parameters,
    parameters_of,
)

__all__ = [
    "Loaded",
    "ParameterMismatchError",
    "load_parameters",
    "parameters_of",
]
