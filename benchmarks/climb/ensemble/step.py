"""The mean of five, each trained on another draw of training and validation trials."""

from climb import read_step

import kit

AFTER = "normalization"


def train(data, seed):
    train_member = read_step(AFTER)["train"]
    seeds = range(10 * seed, 10 * seed + 5)
    runs = [train_member(data.redraw(each), each) for each in seeds]
    models, logs = zip(*runs, strict=True)
    return kit.ensemble(models), logs[0]
