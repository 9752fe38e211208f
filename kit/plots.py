"""One function a figure: takes data and an axis, returns the axis."""
