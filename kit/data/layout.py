"""The names of the official layout."""

KINDS = ("images", "responses", "behavior", "pupil_center")
RECORDED_SIZE = (144, 256)  # height and width of the images in published and simulated files
TIERS = ("train", "validation", "test", "final_test")
META = {
    "tiers": "meta/trials/tiers",
    "image_ids": "meta/trials/frame_image_id",
    "trial_ids": "meta/trials/trial_idx",
    "unit_ids": "meta/neurons/unit_ids",
    "coordinates": "meta/neurons/cell_motor_coordinates",
}
BEHAVIOR = ("pupil", "pupil_change", "running")  # the columns of behaviour in official files
BEHAVIOR_NAMES = "meta/behavior/names"  # (K,) names of other columns; an extension of the kit
MOUSE_ID = "meta/recording/mouse"  # () its id, in a file of any name; an extension of the kit
