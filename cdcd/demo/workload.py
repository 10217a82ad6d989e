"""A small shop and a client that works on it: a separate process that knows nothing of cdcd.

    python -m cdcd.demo.workload --dsn DSN --uploads FOLDER [--rate 100] [--count N] [--seed 1]

Inserts, updates and deletes, several tables in one transaction, savepoints and rollbacks; events that are queued in these
transactions, one for now and one for later, and gone with a rollback; and files that are dropped into a folder. It ends after about
`count` committed changes, or on SIGINT or SIGTERM, and then prints what it did, as its own account, in one line of JSON:
`{"transactions": n, "rolled_back": n, "tables": {"orders": {"INSERT": n, "UPDATE": n, "DELETE": n}, ...}, "events": {...}}`.
"""

import argparse
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import psycopg

SCHEMA = """
CREATE TABLE customers (
  id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name    text NOT NULL,
  email   text NOT NULL,
  version integer NOT NULL DEFAULT 1
);
CREATE TABLE products (
  id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name    text NOT NULL,
  price   numeric(10, 2) NOT NULL,
  stock   integer NOT NULL,
  tags    text[] NOT NULL DEFAULT '{}',
  version integer NOT NULL DEFAULT 1
);
CREATE TABLE orders (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  customer   bigint NOT NULL,
  product    bigint NOT NULL,
  quantity   integer NOT NULL,
  status     text NOT NULL DEFAULT 'new',
  placed_at  timestamptz NOT NULL DEFAULT now(),
  version    integer NOT NULL DEFAULT 1
);
"""

NAMES = (
    "Ada",
    "Bela",
    "Chidi",
    "Dana",
    "Emre",
    "Fatou",
    "Grete",
    "Hiro",
    "Ines",
    "Jonas",
    "Kavya",
    "Lea",
    "Mehmet",
    "Noor",
    "Olga",
)
THINGS = ("lamp", "teapot", "notebook", "bicycle bell", "wool hat", "garden chair", "door mat", "puzzle", "kettle", "radio")
STATUSES = ("packed", "sent", "received")
EVENTS = ("ORDER_PAID", "REMINDER", "FILE_CREATE")


class Client:
    """One client. Everything it does comes from its seed."""

    def __init__(self, connection: psycopg.Connection[Any], uploads: Path, seed: int) -> None:
        self._connection = connection
        self._uploads = uploads
        self._random = random.Random(seed)
        self._changes: Counter[tuple[str, str]] = Counter()
        self._committed: Counter[tuple[str, str]] = Counter()
        self.transactions = 0
        self.rolled_back = 0

    @property
    def committed(self) -> int:
        """Changes committed so far."""
        return self._committed.total()

    def account(self) -> dict[str, Any]:
        """What was committed; see the module."""
        tables = {
            table: {kind: self._committed[table, kind] for kind in ("INSERT", "UPDATE", "DELETE")}
            for table in ("customers", "products", "orders")
        }
        events = {kind: self._committed["events", kind] for kind in EVENTS}
        return {"transactions": self.transactions, "rolled_back": self.rolled_back, "tables": tables, "events": events}

    def upload(self) -> None:
        """Drop a file, as careful programs do: written beside, then renamed."""
        number = self._committed["events", "FILE_CREATE"] + 1
        part = self._uploads / f".photo-{number}.part"
        part.write_bytes(self._random.randbytes(self._random.randint(100, 5000)))
        part.rename(self._uploads / f"photo-{number}.jpg")
        self._committed["events", "FILE_CREATE"] += 1

    def transact(self) -> None:
        """One transaction, committed or rolled back."""
        if self._random.random() < 0.03:
            self.upload()
        self._changes.clear()
        back = self._random.random() < 0.05
        with self._connection.transaction(force_rollback=back):
            self._random.choices(
                (
                    self._sign_up,
                    self._stock_up,
                    self._order,
                    self._progress,
                    self._pay,
                    self._cancel,
                    self._leave,
                    self._reprice,
                ),
                (2, 1, 6, 5, 1, 1, 0.5, 1),
            )[0]()
        if back:
            self.rolled_back += 1
        else:
            self.transactions += 1
            self._committed.update(self._changes)

    def _do(self, table: str, kind: str, query: str, *parameters: Any) -> None:
        cursor = self._connection.execute(query, parameters)
        self._changes[table, kind] += cursor.rowcount

    def _sign_up(self) -> None:
        name = self._random.choice(NAMES)
        self._do(
            "customers", "INSERT", "INSERT INTO customers (name, email) VALUES (%s, %s)", name, f"{name.lower()}@example.com"
        )

    def _stock_up(self) -> None:
        thing = f"{self._random.choice(('small', 'large', 'blue', 'old'))} {self._random.choice(THINGS)}"
        price, stock = round(self._random.uniform(1, 200), 2), self._random.randint(5, 50)
        self._do(
            "products", "INSERT", "INSERT INTO products (name, price, stock, tags) VALUES (%s, %s, %s, %s)",
            thing, price, stock, thing.split(),
        )  # fmt: skip

    def _order(self) -> None:
        """Two tables in one transaction, and now and then a second line that is taken back."""
        customer, product = self._some("customers"), self._some("products")
        if customer is None or product is None:
            self._sign_up()
            self._stock_up()
            return
        quantity = self._random.randint(1, 4)
        self._buy(customer, product, quantity)
        if self._random.random() < 0.2:
            before = self._changes.copy()
            with self._connection.transaction(force_rollback=True):
                self._buy(customer, product, 1)
            self._changes = before

    def _buy(self, customer: int, product: int, quantity: int) -> None:
        self._do(
            "orders",
            "INSERT",
            "INSERT INTO orders (customer, product, quantity) VALUES (%s, %s, %s)",
            customer,
            product,
            quantity,
        )
        self._do(
            "products",
            "UPDATE",
            "UPDATE products SET stock = stock - %s, version = version + 1 WHERE id = %s",
            quantity,
            product,
        )

    def _progress(self) -> None:
        if (order := self._some("orders")) is not None:
            self._do(
                "orders", "UPDATE", "UPDATE orders SET status = %s, version = version + 1 WHERE id = %s",
                self._random.choice(STATUSES), order,
            )  # fmt: skip

    def _pay(self) -> None:
        """A change, and two events that are there only if it is: one for now, one for later."""
        if (order := self._some("orders")) is not None:
            self._do("orders", "UPDATE", "UPDATE orders SET status = 'paid', version = version + 1 WHERE id = %s", order)
            self._queue("ORDER_PAID", order, "0 seconds")
            self._queue("REMINDER", order, "2 seconds")

    def _queue(self, kind: str, order: int, delay: str) -> None:
        self._connection.execute(
            "SELECT cdcd.queue(%s, json_build_object('order', %s::bigint), delay => %s::interval, key => %s)",
            [kind, order, delay, str(order)],
        )
        self._changes["events", kind] += 1

    def _cancel(self) -> None:
        if (order := self._some("orders")) is not None:
            self._do("orders", "DELETE", "DELETE FROM orders WHERE id = %s", order)

    def _leave(self) -> None:
        if (customer := self._some("customers")) is not None:
            self._do("customers", "DELETE", "DELETE FROM customers WHERE id = %s", customer)

    def _reprice(self) -> None:
        low = self._random.randint(0, 20)
        self._do("products", "UPDATE", "UPDATE products SET price = price + 1, version = version + 1 WHERE id %% 50 = %s", low)

    def _some(self, table: str) -> int | None:
        """The id of some row; None when the table is empty."""
        query = (
            f"SELECT id FROM {table} WHERE id >= (SELECT min(id) + floor(%s * (max(id) - min(id) + 1))::bigint FROM {table})"
            " ORDER BY id LIMIT 1"
        )
        row = self._connection.execute(query, [self._random.random()]).fetchone()
        return None if row is None else int(row[0])


def main() -> None:
    parser = argparse.ArgumentParser(description="A client that works on the demo's shop.")
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--uploads", required=True, type=Path)
    parser.add_argument("--rate", type=float, default=100.0, help="committed changes a second")
    parser.add_argument("--count", type=int, help="end after about this many committed changes")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    with psycopg.connect(arguments.dsn, autocommit=True, application_name="shop") as connection:
        client = Client(connection, arguments.uploads, arguments.seed)
        began = time.monotonic()
        while not stopping and (arguments.count is None or client.committed < arguments.count):
            client.transact()
            ahead = client.committed / arguments.rate - (time.monotonic() - began)
            if ahead > 0:
                time.sleep(min(ahead, 1.0))
    sys.stdout.write(orjson.dumps(client.account()).decode() + "\n")


if __name__ == "__main__":
    main()
