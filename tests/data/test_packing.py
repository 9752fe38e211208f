"""Standardised arrays: their values, their statistics, and what is withheld."""

import shutil
import zipfile

import numpy as np
import pytest
import tiny
import torch
from recording_files import TOP, assert_same
from torch.nn.functional import interpolate

import kit


def test_pack_divides_responses_by_floored_std(mouse, arrays):
    seen = np.isin(arrays["tiers"], ["train", "validation"])
    std = arrays["responses"][seen].astype(float).std(0)
    assert std[4] < 0.01 * std.mean()
    std[4] = 0.01 * std.mean()
    np.testing.assert_allclose(mouse.responses, arrays["responses"] / std, rtol=1e-5)
    assert mouse.responses[seen].std(0)[5] == pytest.approx(1, abs=1e-5)
    assert (mouse.responses >= 0).all()  # divided, never centred


def test_pack_behavior_and_pupil_center(mouse, arrays):
    seen = np.isin(arrays["tiers"], ["train", "validation"])
    behavior, eye = arrays["behavior"], arrays["pupil_center"]
    np.testing.assert_allclose(mouse.behavior, behavior / behavior[seen].std(0), rtol=1e-5)
    expected = (eye - eye[seen].mean(0)) / eye[seen].std(0)
    np.testing.assert_allclose(mouse.pupil_center, expected, atol=1e-4)


def test_pack_images_z_scored_and_scaled(mouse, arrays):
    seen = np.isin(arrays["tiers"], ["train", "validation"])
    images = arrays["images"].astype(float)
    images = (images - images[seen].mean()) / images[seen].std()
    expected = interpolate(
        torch.from_numpy(images), scale_factor=0.25, mode="bilinear", align_corners=False
    )
    assert mouse.images.shape == (70, 1, 36, 64)
    np.testing.assert_allclose(mouse.images, expected.numpy(), atol=1e-5)
    # a quarter of the size samples between the two middle pixels of each 4 x 4 block
    by_hand = images[0, 0, 1:3, 5:7].mean()
    assert mouse.images[0, 0, 0, 1] == pytest.approx(by_hand, abs=1e-5)


def test_pack_keeps_statistics(mouse, arrays):
    seen = np.isin(arrays["tiers"], ["train", "validation"])
    assert set(mouse.statistics) == {
        f"{kind}_{name}"
        for kind in ("images", "responses", "behavior", "pupil_center")
        for name in ("mean", "std")
    }
    assert mouse.statistics["images_mean"] == pytest.approx(arrays["images"][seen].mean(), rel=1e-6)
    assert mouse.statistics["responses_mean"].tolist() == [0] * 24
    raw = mouse.responses * mouse.statistics["responses_std"]
    np.testing.assert_allclose(raw, arrays["responses"], rtol=1e-5)


def test_pack_keeps_ids(mouse, arrays):
    assert mouse.mouse == "7-1-1"
    for ours, theirs in (
        ("tiers", "tiers"),
        ("image_ids", "frame_image_id"),
        ("trial_ids", "trial_idx"),
        ("unit_ids", "unit_ids"),
        ("coordinates", "cell_motor_coordinates"),
    ):
        np.testing.assert_array_equal(getattr(mouse, ours), arrays[theirs])


def test_pack_constant_behavior(tmp_path):
    arrays = tiny.arrays()
    arrays["behavior"][:, 2] = 0  # a mouse that never ran
    mouse = kit.load(tiny.write(tmp_path, arrays), folder=tmp_path / "data").mouse
    assert (mouse.behavior[:, 2] == 0).all()
    assert np.isfinite(mouse.behavior).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.int64])
def test_pack_images_of_any_dtype(source, mouse, arrays, tmp_path, dtype):
    changes = {
        f"data/images/{i}.npy": tiny.npy(image.astype(dtype))
        for i, image in enumerate(arrays["images"])
    }
    copy = tiny.rewritten(source, tmp_path / source.name, changes=changes)
    assert_same(kit.load(copy, folder=tmp_path / "data").mouse, mouse)


def test_pack_withheld_responses_and_behavior(tmp_path):
    path = tiny.write(tmp_path, withholds=("responses", "behavior"))
    mouse = kit.load(path, folder=tmp_path / "data").mouse
    assert mouse.behavior is None and mouse.pupil_center is None
    batch = mouse.first("test", 2)
    assert batch.behavior is None and batch.pupil_center is None
    assert batch.to("cpu").behavior is None
    withheld = [mouse.withheld(tier) for tier in kit.data.official.TIERS]
    assert withheld == [False, False, True, True]
    assert batch.responses is None and mouse.first("train", 2).responses.isfinite().all()
    assert np.isnan(mouse.responses[mouse.rows("test")]).all()
    assert mouse.batch([mouse.rows("train")[0], mouse.rows("test")[0]]).responses is None
    names = {"images_mean", "images_std", "responses_mean", "responses_std"}
    assert set(mouse.statistics) == names
    assert "24 neurons, 40 train, 12 validation, 11 test, 7 final_test" in repr(mouse)
    assert "without behaviour" in repr(mouse)


@pytest.mark.parametrize(
    "absent, takes",
    [
        (["behavior", "pupil_center"], (False, False)),
        (["behavior"], (False, True)),
        (["pupil_center"], (True, False)),
    ],
    ids=["behaviour and eye", "behaviour", "eye"],
)
def test_pack_without_behavior_or_eye_position(source, tmp_path, absent, takes):
    """As other labs export theirs: no folder, and no statistics of what is not there."""
    with zipfile.ZipFile(source) as archive:
        archive.extractall(tmp_path)
    folder = (tmp_path / TOP).rename(tmp_path / "nat30k_lab_2024_01_02")
    for kind in absent:
        shutil.rmtree(folder / "data" / kind)
        shutil.rmtree(folder / "meta" / "statistics" / kind)
    data = kit.load(folder, size=(18, 32), folder=tmp_path / "data")
    mouse = data.mouse
    assert mouse.mouse == folder.name and mouse.responses.shape == (70, 24)
    assert (mouse.behavior is not None, mouse.pupil_center is not None) == takes
    model = kit.cnn_baseline(data, channels=2)
    assert (model.config.behavior_channels, model.config.shifter) == takes
    log = kit.train(model, data, kit.TrainConfig(epochs=1, device="cpu"))
    assert np.isfinite(log.loss).all()
    assert not kit.vit_baseline(data).core.takes_state
    refused = {"behavior": "gain", "pupil_center": "shifter"}[absent[0]]
    with pytest.raises(ValueError, match=r"this model takes (behaviour|eye position)"):
        kit.cnn_baseline(data, 2, kit.ModelConfig(image_size=(18, 32), **{refused: True}))
