"""Puts the .proto files of the contract into the package."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ContractHook(BuildHookInterface):
    """Takes them from the repository, unless a source distribution brings its own."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Adds the files to the build."""
        root = Path(self.root)
        packed = root / "src/m2m_token/proto"
        if not packed.exists():
            build_data["force_include"][str(root / "../../../proto/m2m")] = "m2m_token/proto/m2m"
