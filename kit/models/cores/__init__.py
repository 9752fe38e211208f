"""Cores beside the CNN in `layers`, and the check of your own.

In: images (B, C, H, W). Out: features (B, C', h, w), for `Model` to read out.
"""
