"""Print the instruction sets that numpy uses here beyond its baseline, to switch them off."""

from numpy._core import _multiarray_umath as umath  # nowhere public

print(*(name for name in umath.__cpu_dispatch__ if umath.__cpu_features__[name]))
