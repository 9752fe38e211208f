"""Train a baseline and make an entry: `python quickstart.py recording.zip`."""

import sys
import zipfile
from pathlib import Path

import kit

data = kit.load(sys.argv[1])
model = kit.cnn_baseline(data, channels=16)  # 64, the default, takes longer and scores higher
log = kit.train(model, data)
print(kit.score(model, data, "validation"))
files = kit.submit(model, data, "entry")
with zipfile.ZipFile("entry.zip", "w", zipfile.ZIP_DEFLATED) as entry:
    for file in files:
        entry.write(file, Path(file).name)
