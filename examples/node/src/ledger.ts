// The service's own work: a ledger in SQLite, and a writer that keeps it busy.
//
// It knows nothing about operations. The tables are those of the other hosts in `examples/`, so all of them can
// work on one folder, also at the same time.
import { randomInt } from "node:crypto";
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import Database from "better-sqlite3";

const ACCOUNTS = 1000;
const OPENING = 1000;

const TABLES = `
CREATE TABLE IF NOT EXISTS account (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, balance INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS entry (
    seq INTEGER PRIMARY KEY, transfer INTEGER NOT NULL, account INTEGER NOT NULL,
    delta INTEGER NOT NULL, note TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS entry_by_account ON entry (account, seq);
CREATE TABLE IF NOT EXISTS counter (last_transfer INTEGER NOT NULL);
`;

/** Accounts and transfers between them. The balances always add up to what was paid in. */
export class Ledger {
  readonly #database: Database.Database;
  readonly #accounts: number;
  readonly #transfer: (payer: number, payee: number, amount: number) => number;

  constructor(path: string) {
    mkdirSync(dirname(path), { recursive: true });
    const database = new Database(path, { timeout: 10_000 });
    database.pragma("journal_mode = wal");
    database.pragma("synchronous = normal");
    const number = (sql: string) => database.prepare<[], number>(sql).pluck();
    const open = database.transaction(() => {
      database.exec(TABLES);
      const accounts = number("SELECT count(*) FROM account").get() ?? 0;
      if (accounts > 0) return accounts;
      const insert = database.prepare("INSERT INTO account VALUES (?, ?, ?)");
      for (let id = 1; id <= ACCOUNTS; id++) insert.run(id, `owner ${id}`, OPENING);
      database.exec("INSERT INTO counter VALUES (0)");
      return ACCOUNTS;
    });
    this.#accounts = open.immediate();
    const last = number("SELECT last_transfer FROM counter");
    const entry = database.prepare("INSERT INTO entry VALUES (?, ?, ?, ?, 'node')");
    const balance = database.prepare("UPDATE account SET balance = balance + ? WHERE id = ?");
    const count = database.prepare("UPDATE counter SET last_transfer = ?");
    const transfer = database.transaction((payer: number, payee: number, amount: number) => {
      const before = last.get() ?? 0;
      for (const [nth, account, delta] of [[1, payer, -amount], [2, payee, amount]] as const) {
        entry.run(2 * before + nth, before + 1, account, delta);
        balance.run(delta, account);
      }
      count.run(before + 1);
      return before + 1;
    });
    this.#transfer = transfer.immediate;
    this.#database = database;
  }

  /** Moves money between two accounts. Returns the transfer's number, once it is committed. */
  transfer(): number {
    const payer = randomInt(this.#accounts);
    const payee = (payer + randomInt(1, this.#accounts)) % this.#accounts;
    return this.#transfer(payer + 1, payee + 1, randomInt(1, 98));
  }

  /** Closes the database. */
  close(): void {
    this.#database.close();
  }
}

/** What a writer did. */
export interface Report {
  /** Transfers that were committed. */
  transactions: number;
  /** The number of the last one. */
  last_transfer: number;
}

/** Makes so many transfers a second until it is stopped. */
export class Writer {
  readonly #ledger: Ledger;
  readonly #timer: NodeJS.Timeout;
  readonly #report: Report = { transactions: 0, last_transfer: 0 };

  constructor(path: string, rate: number) {
    this.#ledger = new Ledger(path);
    this.#timer = setInterval(() => {
      this.#report.last_transfer = this.#ledger.transfer();
      this.#report.transactions++;
    }, 1000 / rate);
  }

  /** Stops, and closes the database. */
  stop(): Report {
    clearInterval(this.#timer);
    this.#ledger.close();
    return this.#report;
  }
}
