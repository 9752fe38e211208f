"""Receptive fields of cells with known filters."""

import numpy as np
import pytest
from hand_cells import CENTER, PHASE, SIZE, Energy, Simple, correlation, gabor

import kit
from kit.lab import receptive_fields
from kit.lab.fields import _principal_component


def test_receptive_fields_of_a_simple_cell_is_its_filter():
    fields = receptive_fields(Simple())
    assert fields.shape == (2, *SIZE)
    assert correlation(fields[0], gabor()) > 0.9999
    assert not fields[1].any()  # never responds
    np.testing.assert_allclose(kit.lab.field_centers(fields)[0], CENTER, atol=0.2)


def test_receptive_fields_of_a_complex_cell_lies_in_its_pair_of_filters():
    field = receptive_fields(Energy(), [0])[0]
    even, odd = gabor(), gabor(PHASE - np.pi / 2)
    assert np.hypot(correlation(field, even), correlation(field, odd)) > 0.99
    np.testing.assert_allclose(kit.lab.field_centers(field[None])[0], CENTER, atol=0.2)


def test_receptive_fields_of_chosen_neurons_and_own_images():
    cell, images = Energy(), kit.lab.Screen().natural_noise(5, seed=3)
    both = receptive_fields(cell, images=images)
    np.testing.assert_array_equal(receptive_fields(cell, [1, 0], images=images), both[::-1])
    assert not np.array_equal(both, receptive_fields(cell))


def test_principal_component_of_one_direction():
    direction = np.array([[3.0, 0], [0, 4]])
    component = _principal_component(np.stack([direction, -2 * direction, 3 * direction]))
    size = np.sqrt((1 + 4 + 9) / 3)  # root mean square of the factors; their mean is positive
    np.testing.assert_allclose(component, size * direction, atol=1e-12)


def test_field_centers():
    fields = np.zeros((2, 5, 7))
    fields[0, 1, 6], fields[0, 3, 6] = 2, -2  # the sign does not matter
    np.testing.assert_allclose(kit.lab.field_centers(fields), [[3, 0], [0, 0]])


def test_sparse_noise_fields():
    on, off = kit.lab.sparse_noise_fields(Simple(), [0], spot=1)
    value = min(-kit.lab.Screen().limits[0], kit.lab.Screen().limits[1])
    expected = 100 * (value * gabor()) ** 2
    np.testing.assert_allclose(on[0], np.where(gabor() > 0, expected, 0), atol=1e-6)
    np.testing.assert_allclose(off[0], np.where(gabor() < 0, expected, 0), atol=1e-6)
    complex_on, complex_off = kit.lab.sparse_noise_fields(Energy(), [0])
    np.testing.assert_allclose(complex_on, complex_off, atol=1e-6)
    np.testing.assert_allclose(kit.lab.field_centers(complex_on)[0], CENTER, atol=0.1)


def test_sparse_noise_spots_are_centred_and_stay_inside():
    class Corner(Simple):
        def forward(self, batch, mouse=None):
            return batch.images[:, :, [0, 17], [0, 32]].flatten(1).abs()

    on, _ = kit.lab.sparse_noise_fields(Corner(), spot=3)
    assert np.argwhere(on[0] > 0).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    inner = np.argwhere(on[1] > 0)
    assert inner.min(0).tolist() == [16, 31] and inner.max(0).tolist() == [18, 33]


def test_spike_triggered_averages_by_hand():
    cell, screen = Simple(), kit.lab.Screen()
    first, second = np.random.SeedSequence(5).spawn(2)  # of two blocks
    noise = np.concatenate([screen.white_noise(64, first), screen.white_noise(36, second)])
    rate = kit.lab.responses(cell, noise)[:, 0].astype(float)
    expected = np.tensordot(rate - rate.mean(), noise[:, 0], 1) / rate.sum()
    averages = kit.lab.spike_triggered_averages(cell, images=100, seed=5)
    np.testing.assert_allclose(averages, [expected, 0 * expected], atol=1e-5)


@pytest.mark.parametrize("call, message", [
    (lambda: kit.lab.sparse_noise_fields(Simple(), spot=0), "spot=0 is not possible"),
    (lambda: kit.lab.spike_triggered_averages(Simple(), images=1), "images=1 is not possible"),
    (lambda: receptive_fields(Simple(), 7), "neurons=7 are not neurons"),
    (lambda: receptive_fields(Simple(), images=np.zeros((2, 1, 18, 32))),
     r"takes images \(n, 1, H, W\) of \(36, 64\) pixels"),
    (lambda: receptive_fields(Simple(), images=np.zeros((2, 1, *SIZE), np.uint8)),
     "uint8 are not z-scored"),
    (lambda: receptive_fields(Simple(), images=np.zeros((300, 1, *SIZE))),
     "gradients at 300 images need too much memory"),
])  # fmt: skip
def test_bad_arguments_get_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
