"""The control plane's API from Python: `ControlPlane`."""
