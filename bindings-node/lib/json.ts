// JSON without loss: an integer that a `number` cannot hold is a `bigint`, both ways. What has none, which is nearly
// everything, goes through the engine's own `JSON`.

/** A run of digits that could be an integer past 2^53-1, wherever it stands. */
const LONG_NUMBER = /[0-9]{16}/;

/** Reads JSON text. */
export function parse(text: string): unknown {
  return LONG_NUMBER.test(text) ? new Reader(text).read() : JSON.parse(text);
}

/** Writes JSON text. `undefined` in an object is left out, as ever. */
export function stringify(value: unknown): string {
  let lossless = true;
  const text = JSON.stringify(value, (_, inner: unknown) => {
    if (typeof inner !== "bigint") return inner;
    lossless = false;
    return null;
  });
  return lossless ? text : write(value, "") ?? "null";
}

/** What `JSON.stringify` does, with integers of any size. `undefined` for what JSON does not have. */
function write(value: unknown, key: string): string | undefined {
  if (typeof value === "bigint") return value.toString();
  if (typeof value !== "object" || value === null) return JSON.stringify(value) as string | undefined;
  const { toJSON } = value as { toJSON?: (key: string) => unknown };
  if (typeof toJSON === "function") return write(toJSON.call(value, key), key);
  if (Array.isArray(value)) {
    return `[${value.map((item, at) => write(item, String(at)) ?? "null").join(",")}]`;
  }
  const fields: string[] = [];
  for (const [name, inner] of Object.entries(value)) {
    const text = write(inner, name);
    if (text !== undefined) fields.push(`${JSON.stringify(name)}:${text}`);
  }
  return `{${fields.join(",")}}`;
}

/** The next token: a mark, a text, a number or a word. Sticky, with the white space before it. */
const TOKEN = /[ \t\n\r]*(?:([[\]{},:])|("(?:[^"\\]|\\.)*")|(-?[0-9]+)(\.[0-9]+)?([eE][+-]?[0-9]+)?|(true|false|null))/y;

/** Reads text that the native half wrote: what is not JSON is no case of its own. */
class Reader {
  readonly #text: string;
  #token: RegExpExecArray;

  constructor(text: string) {
    this.#text = text;
    TOKEN.lastIndex = 0;
    this.#token = this.#next();
  }

  read(): unknown {
    return this.#value();
  }

  #next(): RegExpExecArray {
    const at = TOKEN.lastIndex;
    const token = TOKEN.exec(this.#text);
    if (!token) throw new SyntaxError(`unexpected JSON at position ${at}`);
    this.#token = token;
    return token;
  }

  #value(): unknown {
    const [, mark, text, integer, fraction, exponent, word] = this.#token;
    if (mark === "{") return this.#object();
    if (mark === "[") return this.#list();
    if (text !== undefined) return JSON.parse(text);
    if (word !== undefined) return JSON.parse(word);
    if (integer === undefined) throw new SyntaxError(`unexpected ${mark} in JSON`);
    const number = Number(`${integer}${fraction ?? ""}${exponent ?? ""}`);
    const whole = fraction === undefined && exponent === undefined;
    return whole && !Number.isSafeInteger(number) ? BigInt(integer) : number;
  }

  #object(): Record<string, unknown> {
    const object: Record<string, unknown> = {};
    while (this.#next()[1] !== "}") {
      if (this.#token[1] === ",") this.#next();
      const name = JSON.parse(this.#token[2] ?? "") as string;
      this.#next();
      this.#next();
      // Not an assignment: `__proto__` is a name like any other.
      Object.defineProperty(object, name, {
        value: this.#value(),
        configurable: true,
        enumerable: true,
        writable: true,
      });
    }
    return object;
  }

  #list(): unknown[] {
    const list: unknown[] = [];
    while (this.#next()[1] !== "]") {
      if (this.#token[1] === ",") this.#next();
      list.push(this.#value());
    }
    return list;
  }
}
