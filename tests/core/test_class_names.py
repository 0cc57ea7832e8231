"""Class names: an order that is the same in every kernel, and labels that mean what their names say."""

import itertools

import pytest
import torch
from torch.utils.data import Subset, TensorDataset

from intr_nb.core.class_names import _class_names, _class_order, _label_map, _names_to_learn, _unwrap


def named(*names, of=torch.nn.Identity):
    new = of() if of is torch.nn.Identity else TensorDataset(torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]))
    new.class_names = list(names)
    return new


def test_names_that_are_the_same_number_have_one_order():
    for names in itertools.permutations(["07", "7", "8", "007", "robin"]):
        assert _class_order(names) == ["007", "07", "7", "8", "robin"]


def test_names_are_found_inside_wrappers_and_parts():
    model = named("ant", "bee")
    compiled = torch.nn.Module()  # torch.compile itself costs the tests 15 seconds
    compiled._orig_mod = model
    for wrapped in (torch.nn.DataParallel(model), compiled, torch.optim.swa_utils.AveragedModel(model)):
        assert _class_names(wrapped) == ["ant", "bee"]
    assert _unwrap(torch.nn.DataParallel(compiled)) is model
    assert _class_names(Subset(Subset(named("ant", "cat", of=TensorDataset), [0]), [0])) == ["ant", "cat"]
    folder = named(of=TensorDataset)
    folder.class_names, folder.classes = None, ["x", "y"]  # as torchvision's ImageFolder has it
    assert _class_names(folder) == ["x", "y"]


def test_labels_are_translated_by_name():
    model = named("ant", "bee", "cat")
    assert _label_map(model, named("cat", "bee", of=TensorDataset)) == [2, 1]
    assert _label_map(model, named("ant", "bee", "cat", of=TensorDataset)) is None
    assert _label_map(torch.nn.Identity(), named("cat", of=TensorDataset)) is None
    with pytest.raises(
        ValueError, match="'beee' that the model does not know: is it 'bee'.*model.class_names"
    ):
        _label_map(model, named("ant", "beee", of=TensorDataset))


def test_a_training_refuses_the_same_names_in_another_order():
    train = named("cat", "ant", of=TensorDataset)
    with pytest.raises(ValueError, match="in another order.*class_names=model.class_names"):
        _names_to_learn(named("ant", "cat"), train, None)
    assert _names_to_learn(named("finch", "wren"), train, None) == ["cat", "ant"]  # another task
    with pytest.raises(ValueError, match="validation has a class 'dog'"):
        _names_to_learn(torch.nn.Identity(), train, named("ant", "dog", of=TensorDataset))
    with pytest.raises(ValueError, match="expected the same"):
        _names_to_learn(torch.nn.Identity(), train, None, ["ant", "cat"])
