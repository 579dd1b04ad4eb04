"""Shapes and types of theory are checked in its tests too."""

from jaxtyping import install_import_hook

install_import_hook("theory", "beartype.beartype")
