"""The final truth leaves home in no file: not its numbers, not its order.

Every file that is published is searched: the public zip, croissant.json and the bundle, with all
that is in them, however deep. Each search finds the truth where it does lie.
"""

import csv
import zipfile

import pytest
from road import Road, contents, holds_numbers, order_in

import kit
from kit.challenge.tracks import SUBMISSION_FILES, TRUTH_FILES


@pytest.fixture(scope="module", params=["sensorium", "sensorium+"])
def road(request, tmp_path_factory):
    return Road(tmp_path_factory.mktemp("road"), request.param)


def test_numbers_of_the_final_truth_are_in_no_file_that_leaves_home(road):
    files = [*contents(road.public.parent), *contents(road.bundle(solution=True))]
    assert len(files) > 250  # nothing is skipped
    for name, content in files:
        assert not holds_numbers(content, road.numbers), name
        assert TRUTH_FILES["final_test"] not in name
    for place in (road.private, road.bundle(blind_final=False, solution=True)):  # it can find them
        assert any(holds_numbers(content, road.numbers) for _, content in contents(place))


def test_scores_of_the_baseline_tell_nothing_of_the_final_truth(road):
    path = road.bundle(solution=True)
    with zipfile.ZipFile(path) as outer, zipfile.ZipFile(outer.open("solution.zip")) as inner:
        inner.extractall(road.folder / "entry")
    for tier, here in (("test", True), ("final_test", False)):
        scores = kit.grade(road.folder / "entry" / SUBMISSION_FILES[tier],
                           road.private / TRUTH_FILES[tier])  # fmt: skip
        for score in (scores.single_trial, scores.to_average):
            told = [name for name, content in contents(path) if f"{score:.4f}".encode() in content]
            assert bool(told) == here, (tier, told)


def test_order_of_the_final_trials_is_in_no_file_that_leaves_home(road):
    """Wherever their ids stand, they stand in the order of the public zip, a random one."""
    mouse = road.data.mouse
    trials = mouse.trial_ids[mouse.rows("final_test")].tolist()
    orders = {}
    for place in (road.public.parent, road.bundle(solution=True)):
        orders |= {name: order_in(content, trials) for name, content in contents(place)}
    holders = [name.rpartition("/")[2] for name, order in orders.items() if order]
    assert {"trial_idx.npy", "final_test_ids.json", SUBMISSION_FILES["final_test"]} <= {*holders}
    assert all(order in (None, trials) for order in orders.values())
    with (road.private / "key.csv").open(newline="") as file:
        key = {line["trial_indices"]: line for line in csv.DictReader(file)}
    shown = [int(key[trial]["original_trial"]) for trial in trials]
    assert shown != sorted(shown) and shown != sorted(shown, reverse=True)


def test_original_ids_of_the_final_trials_are_in_no_file_that_leaves_home(road):
    secrets = [str(number).encode(kind) for numbers in road.originals for number in numbers
               for kind in ("ascii", "utf-32-le")]  # fmt: skip
    secrets += [int(number).to_bytes(8, "little") for numbers in road.originals
                for number in numbers]  # fmt: skip

    def held(place):
        return [name for name, content in contents(place)
                if any(secret in content for secret in secrets)]  # fmt: skip

    assert held(road.public.parent) == held(road.bundle(solution=True)) == []
    assert held(road.private) == [str(road.private / "key.csv")]
