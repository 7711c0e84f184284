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

/** A number or a word. */
const ATOM = /(-?[0-9]+)(\.[0-9]+)?([eE][+-]?[0-9]+)?|true|false|null/y;

/** Reads JSON text from left to right. */
class Reader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  read(): unknown {
    const value = this.#value();
    if (this.#peek() !== undefined) throw this.#unexpected();
    return value;
  }

  #value(): unknown {
    switch (this.#peek()) {
      case "{":
        return this.#object();
      case "[":
        return this.#list();
      case '"':
        return this.#string();
      default:
        return this.#atom();
    }
  }

  /** The next character that is no white space. */
  #peek(): string | undefined {
    while (" \n\r\t".includes(this.#text[this.#at] ?? "x")) this.#at++;
    return this.#text[this.#at];
  }

  /** Passes over `mark` if it is next. */
  #take(mark: string): boolean {
    const found = this.#peek() === mark;
    if (found) this.#at++;
    return found;
  }

  #expect(mark: string): void {
    if (!this.#take(mark)) throw this.#unexpected();
  }

  #unexpected(): SyntaxError {
    return new SyntaxError(`unexpected JSON at position ${this.#at}`);
  }

  #atom(): unknown {
    ATOM.lastIndex = this.#at;
    const found = ATOM.exec(this.#text);
    if (found === null) throw this.#unexpected();
    this.#at = ATOM.lastIndex;
    const [text, integer, fraction, exponent] = found;
    const value: unknown = JSON.parse(text);
    const whole = integer !== undefined && fraction === undefined && exponent === undefined;
    return whole && !Number.isSafeInteger(value) ? BigInt(integer) : value;
  }

  #string(): string {
    // The engine reads it; here only its end is looked for: a quote behind an even number of backslashes.
    let end = this.#at;
    for (let escaped = true; escaped; ) {
      end = this.#text.indexOf('"', end + 1);
      if (end < 0) throw this.#unexpected();
      let back = end;
      while (this.#text[back - 1] === "\\") back--;
      escaped = (end - back) % 2 === 1;
    }
    const text = this.#text.slice(this.#at, end + 1);
    this.#at = end + 1;
    return JSON.parse(text) as string;
  }

  #object(): Record<string, unknown> {
    const object: Record<string, unknown> = {};
    this.#expect("{");
    for (let first = true; !this.#take("}"); first = false) {
      if (!first) this.#expect(",");
      if (this.#peek() !== '"') throw this.#unexpected();
      const name = this.#string();
      this.#expect(":");
      const value = this.#value();
      // Not an assignment: `__proto__` is a name like any other.
      Object.defineProperty(object, name, { value, configurable: true, enumerable: true, writable: true });
    }
    return object;
  }

  #list(): unknown[] {
    const list: unknown[] = [];
    this.#expect("[");
    for (let first = true; !this.#take("]"); first = false) {
      if (!first) this.#expect(",");
      list.push(this.#value());
    }
    return list;
  }
}
