"""An order and the mail about it: both are there, or neither; and the mail is noted as sent exactly once.

python examples/host_transaction.py
"""

from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import gnj
from gnj.testing import drain


class Base(DeclarativeBase): ...


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]
    mails: Mapped[int] = mapped_column(default=0)


engine = create_engine("sqlite:///orders.db")
jobs = gnj.GNJ("sqlite:///orders.db")  # the same database, through connections of its own


@jobs.handler("confirm", max_attempts=3)
def confirm(job: gnj.Job) -> dict[str, int]:
    with Session(engine) as session, session.begin():
        order = session.get_one(Order, job.input["order"])
        order.mails += 1
        result = {"mails": order.mails}
        # the end of the job is part of the transaction: a try that is repeated cannot count twice
        with jobs.joined(session=session) as queue:
            queue.succeed(job, result)
    return result  # the worker tells the same end again, which is a success


def place(item: str) -> int:
    with Session(engine) as session, session.begin():
        order = Order(item=item)
        session.add(order)
        session.flush()  # gives the order its id
        jobs.enqueue("confirm", {"order": order.id}, session=session)
        if not item:
            raise ValueError("an order needs an item")
        return order.id


def main() -> None:
    Base.metadata.create_all(engine)
    jobs.migrate()
    place("tea")
    try:
        place("")
    except ValueError as error:
        print("refused:", error)
    print("jobs:", jobs.count())
    drain(jobs)
    with Session(engine) as session:
        print("orders:", [(order.item, order.mails) for order in session.query(Order)])
    jobs.close()


if __name__ == "__main__":
    main()
