"""Tensors out of files, and into the part of a network that they fit."""

import pytest
import torch
from torch import nn

from intr_nb.models.state_dicts import _fit_part, stored_tensors

# -- files --


def test_stored_tensors(tmp_path):
    tensor = torch.ones(2)
    for wrapped in (
        {"a": tensor},
        {"model": {"a": tensor}},
        {"state_dict": {"module.a": tensor}},
        {"model": {"module.a": tensor}, "epoch": 1},
    ):
        torch.save(wrapped, tmp_path / "f.pth")
        assert stored_tensors(tmp_path / "f.pth")["a"].equal(tensor)


def test_fit_part_forgives_only_what_it_is_told():
    part = nn.Sequential(nn.BatchNorm2d(2))
    state = {f"0.{k}": torch.full((2,), 3.0) for k in ("weight", "bias", "running_mean", "running_var")}
    assert (
        _fit_part(part, state | {"fc": tensor_of(9)}, "f", {"fc"})[0].running_mean.tolist() == [3, 3]
        and part[0].num_batches_tracked == 0
    )
    with pytest.raises(ValueError, match=r"f does not fit this Sequential: 1 unknown \(fc\)"):
        _fit_part(part, state | {"fc": tensor_of(9)}, "f")
    with pytest.raises(ValueError, match=r"1 missing \(0.bias\)"):
        _fit_part(part, {k: v for k, v in state.items() if k != "0.bias"}, "f")


def tensor_of(n):
    return torch.zeros(n)
