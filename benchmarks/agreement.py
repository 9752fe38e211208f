"""How often the intervals of `kit.lab.agreement` hold the true cells' value, on two mice.

Five differently built twins of each mouse: three that are shipped, a transformer and a
narrow divisive core that are trained here. Sixty neurons; some five minutes on two cores.
"""

import kit


def twins(name):
    """Five twins of different architectures, the last two trained here."""
    data = kit.load(name)
    models = [kit.pretrained(f"{name}-{each}") for each in ("cnn", "ln", "strong")]
    strong = kit.strong_baseline(data, channels=16)
    for model in (kit.vit_baseline(data), strong):
        kit.train(model, data, kit.TrainConfig.quick(seed=7))
        models.append(model)
    return models


def main():
    for name in ("sample+", "sample"):
        print(name, kit.lab.agreement(twins(name), kit.truth(name), range(0, 600, 10)), sep=": ")


if __name__ == "__main__":
    main()
