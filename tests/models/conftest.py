"""A folder for each test module, and the same random numbers in each test."""

import pytest
import torch


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
