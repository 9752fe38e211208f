"""The host's side: a challenge of your own, from a recording with known test responses.

`withhold` splits the recording into what is published and what stays private; `bundle.bundle`
writes what the platform Codabench needs to host it.
"""

from kit.hosting.publish import withhold
from kit.hosting.settings import BundleConfig, WithholdConfig

__all__ = ["BundleConfig", "WithholdConfig", "withhold"]
