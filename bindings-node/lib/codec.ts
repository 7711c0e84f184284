/**
 * Between the wire's JSON and JavaScript's own types. `generated.ts` describes each type with what is here.
 *
 * On the wire a name is snake_case, a time is RFC 3339 text, and a file name is text, or `{"bytes": "<hexadecimal>"}`
 * where it is not UTF-8. Here a name is camelCase, a time a `Date`, and a file name a `string` or a `Buffer`, as `node:fs`
 * takes it. Keys of maps and everything in free JSON stay as they are.
 *
 * @module
 */

import { stringify } from "./json.js";

/** What JSON holds, with `bigint` for integers that `number` does not hold. */
export type Json = null | boolean | number | bigint | string | Json[] | { [key: string]: Json };

/** An object of any JSON. Its keys are data. */
export type JsonObject = { [key: string]: Json };

/**
 * An integer of up to 64 bits in an answer. It is a `number`, and a `bigint` at run time past 2^53 - 1, where a `number`
 * would be a wrong one: no size, count or process of today reaches that, so the type does not say it.
 */
export type Integer = number;

/** An integer of up to 64 bits in a request. */
export type IntegerInput = number | bigint;

/** A file name in an answer: a `Buffer` where it is not UTF-8. */
export type Path = string | Buffer;

/** A file name in a request. */
export type PathInput = string | Buffer | URL;

/** The other side sent something that is not what it promised: a defect, of which the message names the place. */
export class WireError extends TypeError {
  override name = "WireError";
}

/** How one kind of value crosses. `null` never comes here. */
export interface Codec<Value, Input = Value> {
  /** The value of what came over the wire. */
  decode(wire: Json, place: string): Value;
  /** What goes over the wire for a value. */
  encode(value: Input): Json;
}

/** How one operation crosses. */
export interface OperationCodec<Request, Response> {
  /** What goes over the wire for a request. */
  encode(request: Request): Json;
  /** The response of what came over the wire. */
  decode(response: unknown): Response;
  /** What came over the wire, of a response: as JSON has it, for logs and files. */
  toWire(response: Response): Json;
}

/** The codec of the operation `name`. */
export function operation<Request, Response>(
  name: string,
  request: Codec<Request>,
  response: Codec<Response>,
): OperationCodec<Request, Response> {
  return {
    encode: (value) => request.encode(value),
    decode: (wire) => response.decode(wire as Json, `the response of ${name}`),
    toWire: (value) => response.encode(value),
  };
}

/** RFC 3339 text as a `Date`, which holds milliseconds. */
export const time: Codec<Date> = {
  decode(wire, place) {
    const date = new Date(typeof wire === "string" ? wire : Number.NaN);
    if (Number.isNaN(date.getTime())) throw new WireError(`${place} is no time: ${show(wire)}`);
    return date;
  },
  encode(value) {
    if (!(value instanceof Date) || Number.isNaN(value.getTime())) {
      throw new TypeError(`a time is a valid Date, not ${String(value)}`);
    }
    return value.toISOString();
  },
};

/** A file name. */
export const path: Codec<Path, PathInput> = {
  decode(wire, place) {
    if (typeof wire === "string") return wire;
    const bytes = isObject(wire) ? wire["bytes"] : undefined;
    if (typeof bytes !== "string") throw new WireError(`${place} is no file name: ${show(wire)}`);
    return Buffer.from(bytes, "hex");
  },
  encode(value) {
    if (value instanceof Uint8Array) {
      const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
      const text = bytes.toString("utf8");
      return Buffer.from(text, "utf8").equals(bytes) ? text : { bytes: bytes.toString("hex") };
    }
    return value instanceof URL ? fileName(value) : value;
  },
};

function fileName(url: URL): string {
  if (url.protocol !== "file:") throw new TypeError(`a file name is a file: URL, not ${url.href}`);
  return decodeURIComponent(url.pathname);
}

/** A list of one kind of value. */
export function list<Value, Input = Value>(item: Codec<Value, Input>): Codec<Value[], readonly Input[]> {
  return {
    decode(wire, place) {
      if (!Array.isArray(wire)) throw new WireError(`${place} is no list: ${show(wire)}`);
      return wire.map((value, index) => item.decode(value, `${place}[${index}]`));
    },
    encode(values) {
      if (!Array.isArray(values)) throw new TypeError(`a list is expected, not ${String(values)}`);
      return values.map((value) => item.encode(value as Input));
    },
  };
}

/** One kind of value by keys that are data. */
export function map<Value, Input = Value>(
  value: Codec<Value, Input>,
): Codec<Record<string, Value>, Readonly<Record<string, Input>>> {
  return {
    decode(wire, place) {
      if (!isObject(wire)) throw new WireError(`${place} is no object: ${show(wire)}`);
      return mapped(wire, (item, key) => value.decode(item, `${place}[${JSON.stringify(key)}]`));
    },
    encode: (values) => mapped(values, (item) => value.encode(item)),
  };
}

/** A value, or null. */
export function nullable<Value, Input = Value>(inner: Codec<Value, Input>): Codec<Value | null, Input | null> {
  return {
    decode: (wire, place) => (wire === null ? null : inner.decode(wire, place)),
    encode: (value) => (value === null ? null : inner.encode(value)),
  };
}

/** One field of a record: its name on the wire, and how its value crosses. */
export interface Field<Value, Input = Value> {
  /** The name on the wire. */
  readonly wire: string;
  /** How the value crosses; as it is when missing. */
  readonly codec?: Codec<Value, Input>;
  /** What a missing one means. A missing field without this is a defect. */
  readonly absent?: () => Value;
}

/** The fields of a record, by their names in JavaScript. */
export type Fields<T> = { readonly [K in keyof T]-?: Field<T[K], Exclude<T[K], undefined>> };

/**
 * A record. Fields that it does not have are passed over in an answer, so that a newer core can say more, and handed on in
 * a request, so that the core names a misspelt one.
 */
export function record<T extends object>(name: string, fields: Fields<T>): Codec<T> {
  const entries = Object.entries(fields) as [string, Field<unknown>][];
  const known = new Map(entries);
  return {
    decode(wire, place) {
      if (!isObject(wire)) throw new WireError(`${place} is no ${name}: ${show(wire)}`);
      const value: Record<string, unknown> = {};
      for (const [key, field] of entries) {
        const item = wire[field.wire];
        if (item !== undefined) {
          value[key] = field.codec === undefined ? item : field.codec.decode(item, `${place}.${field.wire}`);
        } else if (field.absent !== undefined) {
          value[key] = field.absent();
        } else {
          throw new WireError(`${place} is no whole ${name}: ${field.wire} is missing`);
        }
      }
      return value as T;
    },
    encode(value) {
      if (typeof value !== "object" || value === null) {
        throw new TypeError(`${name} is an object, not ${String(value)}`);
      }
      const wire: JsonObject = {};
      for (const [key, item] of Object.entries(value)) {
        if (item === undefined) continue;
        const field = known.get(key);
        wire[field?.wire ?? key] = field?.codec === undefined ? (item as Json) : field.codec.encode(item);
      }
      return wire;
    },
  };
}

/** One of some records, told apart by a word in the field `tag`; `key` is that field's name in JavaScript. */
export function union<T extends object>(tag: string, key: keyof T, records: Record<string, Codec<T>>): Codec<T> {
  const known = new Map(Object.entries(records));
  const find = (word: unknown, place: string) => {
    const codec = typeof word === "string" ? known.get(word) : undefined;
    if (codec === undefined) throw new WireError(`${place} is ${show(word)} and not one of: ${[...known.keys()].join(", ")}`);
    return codec;
  };
  return {
    decode: (wire, place) => find(isObject(wire) ? wire[tag] : undefined, `${place}.${tag}`).decode(wire, place),
    encode: (value) => find(value[key], String(key)).encode(value),
  };
}

function isObject(value: unknown): value is Record<string, Json> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function mapped<A, B>(from: Readonly<Record<string, A>>, change: (value: A, key: string) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(from).map(([key, value]) => [key, change(value, key)]));
}

/** A value as a message shows it: short, whatever it is. */
function show(value: unknown): string {
  const text = value === undefined ? "missing" : stringify(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
