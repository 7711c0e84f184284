// Stand-in until the generator writes this file: groups with the names of the operations, responses in wire names.
import type { CallOptions } from "./calls.js";

export interface Codec<Request, Response> {
  encode(request: Request): unknown;
  decode(response: unknown): Response;
}

export interface Owner {
  _call<Request, Response>(
    name: string,
    request: Request,
    options: CallOptions | undefined,
    codec: Codec<Request, Response>,
  ): Promise<Response>;
}

const snake = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const camel = (name: string): string => name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
const rename = (value: unknown, as: (name: string) => string): unknown => {
  if (Array.isArray(value)) return value.map((item) => rename(item, as));
  if (typeof value !== "object" || value === null || value instanceof Date) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [as(name), rename(inner, as)]));
};
const codec: Codec<unknown, any> = {
  encode: (request) => rename(request ?? {}, snake),
  decode: (response) => rename(response, camel),
};

class Group {
  constructor(protected readonly owner: Owner) {}
}
type Method = (request?: Record<string, unknown>, options?: CallOptions) => Promise<any>;
const method = (owner: Owner, name: string): Method => (request, options) => owner._call(name, request, options, codec);

export class BackupGroup extends Group {
  readonly create = method(this.owner, "backup.create");
  readonly list = method(this.owner, "backup.list");
  readonly show = method(this.owner, "backup.show");
  readonly verify = method(this.owner, "backup.verify");
  readonly delete = method(this.owner, "backup.delete");
}
export class ConfigGroup extends Group {
  readonly check = method(this.owner, "config.check");
  readonly init = method(this.owner, "config.init");
  readonly show = method(this.owner, "config.show");
}
export class HealthGroup extends Group {
  readonly check = method(this.owner, "health.check");
}
export class JournalGroup extends Group {
  readonly read = method(this.owner, "journal.read");
}
export class MetricsGroup extends Group {
  readonly render = method(this.owner, "metrics.render");
}
export class RestoreGroup extends Group {
  readonly apply = method(this.owner, "restore.apply");
  readonly plan = method(this.owner, "restore.plan");
  readonly undo = method(this.owner, "restore.undo");
  readonly undoList = method(this.owner, "restore.undo_list");
  readonly discard = method(this.owner, "restore.discard");
}
export class StoreGroup extends Group {
  readonly stats = method(this.owner, "store.stats");
  readonly verify = method(this.owner, "store.verify");
}

export abstract class Operations implements Owner {
  readonly backup = new BackupGroup(this);
  readonly config = new ConfigGroup(this);
  readonly health = new HealthGroup(this);
  readonly journal = new JournalGroup(this);
  readonly metrics = new MetricsGroup(this);
  readonly restore = new RestoreGroup(this);
  readonly store = new StoreGroup(this);
  readonly status: Method = method(this, "status");
  abstract _call<Request, Response>(
    name: string,
    request: Request,
    options: CallOptions | undefined,
    codec: Codec<Request, Response>,
  ): Promise<Response>;
}
