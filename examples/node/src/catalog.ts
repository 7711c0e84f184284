// The service's plugins and their tools: what its own endpoints tell about it, and a health check of them.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { OpsError } from "uplifted-ops";
import type { CheckOutcome } from "uplifted-ops";

/** What a `plugin.json` says. */
export interface Plugin {
  name: string;
  active: boolean;
  tools: string[];
}

/** What the guide expects at `/api/v1/system/status`. */
export interface SystemStatus {
  plugin_count: number;
  active_plugin_count: number;
  total_tools: number;
  active_tools: number;
  mcp_available: boolean;
}

/** The folder of plugins: each is a folder with a `plugin.json`. */
export class Catalog {
  readonly #folder: string;

  constructor(root: string) {
    this.#folder = join(root, "plugins");
  }

  /** Reads every manifest, in the order of their folders. No folder is no plugins. */
  async plugins(): Promise<Plugin[]> {
    // As bytes: not every name is UTF-8.
    const names = await readdir(this.#folder, "buffer").catch(unlessMissing<Buffer[]>([]));
    names.sort(Buffer.compare);
    const read = names.map((name) => readPlugin(Buffer.concat([Buffer.from(`${this.#folder}/`), name, Buffer.from("/plugin.json")])));
    return (await Promise.all(read)).filter((plugin) => plugin !== undefined);
  }

  /** The tools of the plugins that are switched on. */
  async tools(): Promise<string[]> {
    return (await this.plugins()).filter((plugin) => plugin.active).flatMap((plugin) => plugin.tools);
  }

  /** Adds them up. */
  async status(mcpAvailable: boolean): Promise<SystemStatus> {
    const plugins = await this.plugins();
    const active = plugins.filter((plugin) => plugin.active);
    const toolsOf = (some: Plugin[]): number => some.reduce((sum, plugin) => sum + plugin.tools.length, 0);
    return {
      plugin_count: plugins.length,
      active_plugin_count: active.length,
      total_tools: toolsOf(plugins),
      active_tools: toolsOf(active),
      mcp_available: mcpAvailable,
    };
  }

  /** Are the plugins as they should be? A health check of the host's own, registered as a live object. */
  async check(): Promise<CheckOutcome> {
    const plugins = await this.plugins();
    const off = plugins.filter((plugin) => !plugin.active).map((plugin) => plugin.name);
    const found = { observed: plugins.length - off.length, unit: "plugins" };
    return off.length === 0
      ? { status: "pass", message: "every plugin is switched on", ...found }
      : { status: "warn", message: `switched off: ${off.join(", ")}`, ...found };
  }
}

async function readPlugin(path: Buffer): Promise<Plugin | undefined> {
  const text = await readFile(path, "utf8").catch(unlessMissing(undefined));
  if (text === undefined) return undefined;
  try {
    const { name, active = true, tools = [] } = JSON.parse(text) as Partial<Plugin>;
    if (name === undefined) throw new Error("it has no name");
    return { name, active, tools };
  } catch (cause) {
    throw new OpsError("invalid_input", `${path}: ${String(cause)}`, { hint: "correct the plugin", cause });
  }
}

/** What to take for a file or folder that is not there. */
function unlessMissing<T>(instead: T): (error: NodeJS.ErrnoException) => T {
  return (error) => {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return instead;
    throw error;
  };
}
