"""For PyTorch scripts: a module's parameters in and out of the models that travel.

Trainers of many processes take part through `federant.client.torch.distributed`.
"""

from federant.client.fitting import ParameterMismatchError

try:
    from federant.client.torch.state import Loaded, load_parameters, parameters_of
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"federant.client.torch needs {error.name}, which is not installed: "
        "pip install 'federant[torch]'",
        name=error.name,
    ) from error

__all__ = [
    "Loaded",
    "ParameterMismatchError",
    "load_parameters",
    "parameters_of",
]
