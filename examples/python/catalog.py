"""The service's plugins and their tools: what its own endpoints tell about it, and a health check of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from uplifted_ops import InvalidInputError
from uplifted_ops.plugins import CheckOutcome


@dataclass(frozen=True)
class Plugin:
    """What a `plugin.json` says."""

    name: str
    active: bool
    tools: list[str]


class Catalog:
    """The folder of plugins: each is a folder with a `plugin.json`."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "plugins"

    def plugins(self) -> list[Plugin]:
        """Reads every manifest, in the order of their folders. No folder is no plugins."""
        return [_read(path) for path in sorted(self._folder.glob("*/plugin.json"))]

    def tools(self) -> list[str]:
        """The tools of the plugins that are switched on."""
        return [tool for plugin in self.plugins() if plugin.active for tool in plugin.tools]

    def status(self, mcp_available: bool) -> dict[str, int | bool]:
        """What the guide expects at `/api/v1/system/status`."""
        plugins = self.plugins()
        return {
            "plugin_count": len(plugins),
            "active_plugin_count": sum(plugin.active for plugin in plugins),
            "total_tools": sum(len(plugin.tools) for plugin in plugins),
            "active_tools": sum(len(plugin.tools) for plugin in plugins if plugin.active),
            "mcp_available": mcp_available,
        }

    def check(self) -> CheckOutcome:
        """Are the plugins as they should be? A health check of the host's own, registered as a live object."""
        plugins = self.plugins()
        off = [plugin.name for plugin in plugins if not plugin.active]
        observed = float(len(plugins) - len(off))
        if off:
            return CheckOutcome("warn", f"switched off: {', '.join(off)}", observed, "plugins")
        return CheckOutcome("pass", "every plugin is switched on", observed, "plugins")


def _read(path: Path) -> Plugin:
    try:
        manifest = json.loads(path.read_text())
        return Plugin(manifest["name"], manifest.get("active", True), manifest.get("tools", []))
    except (ValueError, KeyError) as error:
        raise InvalidInputError(f"{path}: {error!r}", hint="correct the plugin") from error
