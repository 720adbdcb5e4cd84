"""A module's state on its way out and in again."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from federant.client.torch import ParameterMismatchError, load_parameters, parameters_of


class Net(nn.Module):
    """A frozen backbone with a batch norm, a head, and a buffer that is the site's own."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
        self.head = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
        self.register_buffer("site_mean", torch.full((4,), 7.0), persistent=False)
        for parameter in self.backbone.parameters():
            parameter.requires_grad_(False)


class Tied(nn.Module):
    """Its first and last layer are one weight, as in a language model."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.out = nn.Linear(3, 5, bias=False)
        self.out.weight = self.embedding.weight


class Counting(nn.Linear):
    """Has extra state that is no tensor."""

    def __init__(self) -> None:
        super().__init__(2, 1)
        self.seen = 0

    def get_extra_state(self) -> dict[str, int]:
        return {"seen": self.seen}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.seen = state["seen"]


def filled(module: nn.Module, value: float) -> nn.Module:
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.fill_(value)
    return module


def as_arrays(params: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in params.items()}


# -- out ------------------------------------------------------------------------------------------


def test_what_goes_out_is_the_state_dict_and_shares_the_modules_memory():
    net = Net()
    params = parameters_of(net)
    assert list(params) == list(net.state_dict())
    assert "site_mean" not in params
    assert not any(tensor.requires_grad for tensor in params.values())
    assert params["head.1.weight"].data_ptr() == net.head[1].weight.data_ptr()
    assert params["head.0.num_batches_tracked"].dtype == torch.int64


def test_of_tied_weights_the_first_name_goes_out():
    assert list(parameters_of(Tied())) == ["embedding.weight"]


def test_two_parameters_that_share_memory_go_out_once():
    tied = Tied()
    tied.out.weight = nn.Parameter(tied.embedding.weight.data)
    assert list(parameters_of(tied)) == ["embedding.weight"]


def test_views_of_the_same_memory_in_another_shape_are_not_tied():
    net = nn.Module()
    net.whole = nn.Parameter(torch.zeros(4))
    net.part = nn.Parameter(net.whole.data[:2])
    assert list(parameters_of(net)) == ["whole", "part"]


def test_empty_parameters_are_not_taken_for_tied():
    net = nn.Module()
    net.first, net.second = nn.Parameter(torch.zeros(0)), nn.Parameter(torch.zeros(0))
    assert list(parameters_of(net)) == ["first", "second"]


def test_only_what_is_trained_goes_out_with_the_buffers_of_its_modules():
    assert list(parameters_of(Net(), trainable_only=True)) == [
        "head.0.weight",
        "head.0.bias",
        "head.0.running_mean",
        "head.0.running_var",
        "head.0.num_batches_tracked",
        "head.1.weight",
        "head.1.bias",
    ]


def test_the_names_asked_for_go_out_also_those_of_a_tie():
    tied = Tied()
    params = parameters_of(tied, names=["out.weight", "embedding.weight"])
    assert list(params) == ["out.weight", "embedding.weight"]


def test_a_name_that_the_module_has_not_is_refused():
    with pytest.raises(ParameterMismatchError, match=r"Tied has no 'hidden.weight'") as refused:
        parameters_of(Tied(), names=["hidden.weight", "out.weight"])
    assert refused.value.unexpected == ("hidden.weight",)


@pytest.mark.parametrize("wrap", [nn.DataParallel, partial(torch.compile, backend="eager")])
def test_the_names_of_a_wrapped_module_are_those_of_the_plain_one(wrap):
    net = Net()
    wrapped = wrap(net)
    assert list(parameters_of(wrapped)) == list(parameters_of(net))
    load_parameters(wrapped, parameters_of(filled(Net(), 2.0)))
    assert bool((net.head[1].weight == 2.0).all())


# -- in -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("travelled", [as_arrays, dict])
def test_a_model_is_loaded_into_the_memory_that_is_there(travelled):
    net = Net()
    before = {name: tensor.data_ptr() for name, tensor in net.state_dict().items()}
    loaded = load_parameters(net, travelled(parameters_of(filled(Net(), 3.0))))
    assert set(loaded.loaded) == set(before)
    assert not loaded.missing
    assert not loaded.unexpected
    assert {name: tensor.data_ptr() for name, tensor in net.state_dict().items()} == before
    assert all(bool((tensor == 3).all()) for tensor in net.state_dict().values())
    assert bool((net.site_mean == 7.0).all())
    assert int(net.head[0].num_batches_tracked) == 3


def test_an_optimizer_goes_on_with_the_loaded_parameters():
    net = nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    load_parameters(net, {"weight": np.array([[5.0, 6.0]], np.float32)})
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert net.weight.tolist() == [[4.0, 5.0]]


def test_a_tie_holds_whichever_name_comes():
    for name in ("embedding.weight", "out.weight"):
        tied = Tied()
        loaded = load_parameters(tied, {name: np.full((5, 3), 4.0, np.float32)})
        assert not loaded.missing
        assert tied.out.weight is tied.embedding.weight
        assert bool((tied.out.weight == 4.0).all())


def test_a_model_saved_with_both_names_of_a_tie_is_loaded():
    tied = Tied()
    value = np.full((5, 3), 4.0, np.float32)
    load_parameters(tied, {"embedding.weight": value, "out.weight": value})
    assert bool((tied.out.weight == 4.0).all())


def test_dtype_and_device_stay_the_modules():
    net = nn.Linear(2, 1, dtype=torch.bfloat16)
    load_parameters(net, {"weight": np.array([[1.5, 2.5]]), "bias": np.zeros(1)})
    assert net.weight.dtype == torch.bfloat16
    assert net.weight.tolist() == [[1.5, 2.5]]


def test_extra_state_travels():
    sender, receiver = Counting(), Counting()
    sender.seen = 12
    load_parameters(receiver, parameters_of(sender))
    assert receiver.seen == 12


@pytest.mark.parametrize("empty", [None, {}])
def test_a_model_without_parameters_leaves_the_module_as_it_is(empty):
    net = filled(Net(), 1.0)
    assert load_parameters(net, empty).loaded == ()
    assert bool((net.head[1].weight == 1.0).all())


def test_only_what_is_trained_is_expected_back():
    net, received = filled(Net(), 1.0), parameters_of(filled(Net(), 2.0), trainable_only=True)
    loaded = load_parameters(net, received, trainable_only=True)
    assert not loaded.missing
    assert bool((net.head[1].weight == 2.0).all())
    assert bool((net.backbone[0].weight == 1.0).all())


def test_a_model_that_does_not_fit_is_refused_by_name_and_nothing_is_loaded():
    net = filled(nn.Linear(3, 2), 1.0)
    model = {"weight": np.zeros((2, 4), np.float32), "scale": np.zeros(2, np.float32)}
    with pytest.raises(ParameterMismatchError) as refused:
        load_parameters(net, model)
    assert str(refused.value) == (
        "the received model does not fit Linear: it lacks 'bias'; it has 'scale', which the "
        "module has not; 'weight' has shape (2, 3) here, (2, 4) in the model. Nothing was loaded; "
        "build the same module at every site and for the initial model"
    )
    assert refused.value.missing == ("bias",)
    assert refused.value.unexpected == ("scale",)
    assert list(refused.value.misfits) == ["weight"]
    assert bool((net.weight == 1.0).all())


def test_missing_names_alone_are_told_with_the_way_to_load_the_rest():
    with pytest.raises(ParameterMismatchError, match="or pass strict=False"):
        load_parameters(nn.Linear(3, 2), {"bias": np.zeros(2, np.float32)})


def test_not_strictly_what_both_have_is_loaded():
    net = filled(nn.Linear(3, 2), 1.0)
    model = {"bias": np.zeros(2, np.float32), "scale": np.zeros(2, np.float32)}
    loaded = load_parameters(net, model, strict=False)
    assert loaded.loaded == ("bias",)
    assert loaded.missing == ("weight",)
    assert loaded.unexpected == ("scale",)
    assert net.bias.tolist() == [0.0, 0.0]
    assert bool((net.weight == 1.0).all())


def test_another_shape_is_refused_not_strictly_too():
    with pytest.raises(ParameterMismatchError, match=r"'bias' has shape \(2,\) here, \(3,\)"):
        load_parameters(nn.Linear(3, 2), {"bias": np.zeros(3, np.float32)}, strict=False)


def test_what_is_no_tensor_is_refused():
    with pytest.raises(ParameterMismatchError, match="'bias' a tensor can be made of an array"):
        load_parameters(nn.Linear(3, 2), {"bias": "zeros"}, strict=False)


def test_a_module_without_memory_is_refused():
    net = nn.Linear(3, 2, device="meta")
    with pytest.raises(ParameterMismatchError, match="is on the meta device here"):
        load_parameters(net, parameters_of(nn.Linear(3, 2)))


def test_long_lists_of_names_are_cut_short():
    net = nn.Sequential(*(nn.Linear(1, 1) for _ in range(9)))
    with pytest.raises(ParameterMismatchError, match=r"it lacks '0.bias'.* and 9 more"):
        load_parameters(net, {"0.weight": np.zeros((1, 1), np.float32)})
